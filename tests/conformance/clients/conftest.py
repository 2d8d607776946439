"""The stack, and clients that behave as Wave's clients do."""

from collections.abc import AsyncIterator

import pytest

from swell_embedded.stack import Stack
from tests.conformance.clients.nf_wave import NfWave
from tests.conformance.clients.wave_cli import WaveCli
from tests.conformance.clients.wire import Clock
from tests.e2e.client import Swell
from tests.e2e.fixtures import containerd, docker, engine
from tests.e2e.raw import operated_beside

__all__ = ["containerd", "docker", "engine"]

PACE = 0.02  # a minute of a client's waiting takes little more than a second of real time


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
    """A gateway of the stack with an operator's account."""
    async with operated_beside(stack, tmp_path_factory.mktemp("operated")) as client:
        yield client
