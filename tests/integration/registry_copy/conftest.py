"""A source with the referrers API, a real registry without it, and a copier between them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swell.net.outbound import Policy, open_session
from swell.testing.http_registry import http_registry
from tests.integration.registry_copy.places import Places
from tests.integration.registry_proxy.support import Registry, docker_registry


@pytest.fixture(scope="module")
async def target(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    folder: Path = tmp_path_factory.mktemp("target")
    async with docker_registry(folder) as registry:
        yield registry


@pytest.fixture
async def places(target: Registry) -> AsyncIterator[Places]:
    async with http_registry() as source, open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        yield Places(source, target, session)
