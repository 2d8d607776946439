"""Real backends: one set of backends for all integration tests of a run."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from swell.jobs import streams
from swell.jobs.streams import Nats
from swell.store.connections import redis as redis_store
from swell_embedded.stack import Stack, open_backends


@pytest.fixture(scope="session")
async def backends(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """NATS, Redis and S3 on free ports of loopback."""
    home: Path = tmp_path_factory.mktemp("backends")
    async with open_backends(home, ("nats", "redis", "s3"), environment={}) as stack:
        yield stack


@pytest.fixture
async def redis(backends: Stack) -> AsyncIterator[Redis]:
    """An empty Redis."""
    async with redis_store.connect(backends.env["SWELL_REDIS_URL"]) as connected:
        await connected.flushall()
        yield connected


@pytest.fixture
async def nats(backends: Stack) -> AsyncIterator[Nats]:
    """NATS with new streams, which remember nothing of the test before."""
    url = backends.env["SWELL_NATS_URL"]
    async with streams.connect(url, "sweeper") as sweeper:
        for config in streams.STREAMS:
            await sweeper.stream.delete_stream(config.name or "")
    async with streams.connect(url, "test") as connected:
        yield connected
