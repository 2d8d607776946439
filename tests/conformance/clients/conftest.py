"""The whole of Swell, and clients that behave as Wave's do."""

from collections.abc import AsyncIterator

import pytest

from swell_embedded.stack import Stack
from tests.conformance.clients.nf_wave import NfWave
from tests.conformance.clients.wave_cli import WaveCli
from tests.conformance.clients.wire import Clock
from tests.e2e.client import Swell
from tests.e2e.conftest import containerd, docker, engine
from tests.e2e.raw import operated_beside

__all__ = ["containerd", "docker", "engine"]

PACE = 0.02  # what a minute of a client's waiting takes of ours: little more than a second


@pytest.fixture
def clock() -> Clock:
    return Clock(PACE)


@pytest.fixture
def cli(swell: Swell, clock: Clock) -> WaveCli:
    return WaveCli(swell.url, clock)


@pytest.fixture
def nf_wave(swell: Swell, clock: Clock) -> NfWave:
    return NfWave(swell.url, clock)


@pytest.fixture(scope="session")
async def operated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    """A gateway beside the stack's own, that has an operator."""
    async with operated_beside(stack, tmp_path_factory.mktemp("operated")) as client:
        yield client
