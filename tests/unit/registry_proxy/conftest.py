"""A registry, and pulls from it."""

import pytest

from registry_proxy.pull import Pulls
from swell.testing.registry import FakeRegistry
from tests.unit.registry_proxy.memory import MemoryDocuments, MemoryLayers, MemoryLeases


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def documents() -> MemoryDocuments:
    return MemoryDocuments()


@pytest.fixture
def layers() -> MemoryLayers:
    return MemoryLayers()


@pytest.fixture
def pulls(registry: FakeRegistry, documents: MemoryDocuments, layers: MemoryLayers) -> Pulls:
    return Pulls(registry, documents, layers, MemoryLeases())
