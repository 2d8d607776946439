"""Counting pulls: published in time, once, and without loss."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from msgspec import structs
from nats.js.api import DeliverPolicy
from redis.asyncio import Redis
from structlog.testing import capture_logs

from gateway.adapters.audit.local_journal import LocalJournal
from gateway.adapters.counters import pull_journal
from gateway.adapters.counters.pull_counter import PullCounter
from gateway.adapters.counters.pull_journal import PullJournal
from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.messages import ImagesPulled
from swell.jobs.streams import Nats
from swell.oci.document import Document
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from swell.store.connections import redis as redis_store
from swell_embedded.stack import Stack
from tests.integration.outages import stalled

NOW = datetime.now(UTC)
IMAGE = Document(OCI_MANIFEST, b'{"config": {}, "layers": []}')
GRANT = Grant(
    token="t",
    image="docker.io/library/ubuntu:22.04",
    platform="linux/amd64",
    created=NOW,
    expires=NOW + timedelta(days=1),
)


class PublishedPulls:
    """What the metrics service would hear: the events in the stream, each id once."""

    def __init__(self, nats: Nats) -> None:
        self._stream = nats.stream

    async def events(self) -> list[ImagesPulled]:
        there = (await self._stream.stream_info("EVENTS")).state.messages
        if not there:
            return []
        source = await self._stream.subscribe("events.>", ordered_consumer=True, deliver_policy=DeliverPolicy.ALL)
        messages = [await source.next_msg(timeout=30) for _ in range(there)]
        await source.unsubscribe()
        return [msgspec.json.decode(message.data, type=ImagesPulled) for message in messages]

    async def total(self) -> int:
        return sum({event.id: event.count for event in await self.events()}.values())

    async def reaches(self, total: int) -> None:
        async with asyncio.timeout(30):
            while await self.total() < total:  # noqa: ASYNC110  no event announces a change
                await asyncio.sleep(0.05)


@pytest.fixture
def published(nats: Nats) -> PublishedPulls:
    return PublishedPulls(nats)


@asynccontextmanager
async def publishing(pull_counter: PullCounter) -> AsyncIterator["asyncio.Task[None]"]:
    """The pull_counter at work; stopped after the block as a gateway is stopped."""
    task = asyncio.create_task(pull_counter.publish_counts())
    await asyncio.sleep(0)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_pulls_are_published_together(nats: Nats, redis: Redis, published: PublishedPulls) -> None:
    """One event a second, not one a pull."""
    pull_counter, today = PullCounter(nats.stream, PullJournal(redis)), datetime.now(UTC).date()
    async with publishing(pull_counter):
        for _ in range(1000):
            pull_counter.count(GRANT, IMAGE)
        await published.reaches(1000)
        (first,) = await published.events()
        pull_counter.count(GRANT, IMAGE)
        await published.reaches(1001)

    assert first.count == 1000
    assert today.isoformat() <= first.day <= datetime.now(UTC).date().isoformat()
    assert Counter(event.count for event in await published.events()) == {1000: 1, 1: 1}


async def test_pulls_are_counted_by_organisation_and_kind(nats: Nats, redis: Redis, published: PublishedPulls) -> None:
    """One event for each kind. An index is not a pull; it contains the platforms of its images."""
    arm = Document(OCI_MANIFEST, b'{"config": {}, "layers": [], "annotations": {}}')
    entry = {"digest": arm.digest, "size": arm.size, "platform": {"os": "linux", "architecture": "arm64"}}
    fusion = ContainerLayer(location="https://example.org/fusion-amd64.tar.gz")
    acme = structs.replace(GRANT, token="acme", organisation="acme.org")
    with_fusion = structs.replace(acme, token="fusion", container_config=ContainerConfig(layers=(fusion,)))
    pull_counter = PullCounter(nats.stream, PullJournal(redis))
    async with publishing(pull_counter):
        pull_counter.count(GRANT, Document(OCI_INDEX, msgspec.json.encode({"manifests": [entry]})))
        for grant, image in [(GRANT, IMAGE), (GRANT, arm), (acme, arm), (acme, arm), (with_fusion, IMAGE)]:
            pull_counter.count(grant, image)

    events = [(event.organisation, event.architecture, event.fusion, event.count) for event in await published.events()]
    assert sorted(events) == [
        ("", "amd64", False, 1),
        ("", "arm64", False, 1),
        ("acme.org", "amd64", True, 1),
        ("acme.org", "arm64", False, 2),
    ]


async def test_a_stopping_gateway_publishes_the_rest(nats: Nats, redis: Redis, published: PublishedPulls) -> None:
    """At once: a stop does not wait for the second to be over."""
    pull_counter = PullCounter(nats.stream, PullJournal(redis))
    async with publishing(pull_counter):
        for _ in range(3):
            pull_counter.count(GRANT, IMAGE)

    assert await published.total() == 3


async def test_nothing_is_published_without_pulls(nats: Nats, redis: Redis, published: PublishedPulls) -> None:
    """An idle gateway publishes no events."""
    async with publishing(PullCounter(nats.stream, PullJournal(redis))):
        pass

    assert await published.events() == []


async def test_pulls_are_neither_lost_nor_doubled_while_nats_is_away(
    backends: Stack, nats: Nats, redis: Redis, published: PublishedPulls
) -> None:
    """What was sent into a broken connection may arrive in the end: then it is the same event, not another one."""
    async with streams.connect(backends.env["SWELL_NATS_URL"], "gateway") as connected, asyncio.timeout(60):
        pull_counter = PullCounter(connected.stream, PullJournal(redis))
        async with publishing(pull_counter):
            with capture_logs() as lines:
                backends.kill("nats")
                for _ in range(5):
                    pull_counter.count(GRANT, IMAGE)
                while not any(line["event"] == "pull counts not published yet" for line in lines):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            pull_counter.count(GRANT, IMAGE)
            await backends.restart("nats")
            await published.reaches(6)
            pull_counter.count(GRANT, IMAGE)
            await published.reaches(7)

    assert await published.total() == 7


async def test_the_counts_of_a_killed_gateway_are_published_by_another(
    backends: Stack, nats: Nats, redis: Redis, published: PublishedPulls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if NATS was away when the gateway was killed: after a second, its counts are in the journal."""
    monkeypatch.setattr(pull_journal, "LEFT", timedelta(0))
    journal = PullJournal(redis)
    async with streams.connect(backends.env["SWELL_NATS_URL"], "killed") as connected:
        async with stalled(backends, "nats"):
            killed = PullCounter(connected.stream, journal)
            async with publishing(killed), asyncio.timeout(30):
                for _ in range(50):
                    killed.count(GRANT, IMAGE)
                while not await journal.left():  # noqa: ASYNC110 - stored by a background task
                    await asyncio.sleep(0.05)
                killed._events.clear()  # as SIGKILL does
        async with publishing(PullCounter(nats.stream, journal)):
            await published.reaches(50)
            async with asyncio.timeout(30):
                while await journal.left():  # noqa: ASYNC110 - removed by a background task
                    await asyncio.sleep(0.05)

    assert await published.total() == 50


async def test_the_counts_of_a_gateway_killed_without_nats_and_redis_are_published_by_the_next(
    backends: Stack,
    nats: Nats,
    redis: Redis,
    published: PublishedPulls,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """They are in a folder of the gateway's machine, each once."""
    monkeypatch.setattr(pull_journal, "LEFT", timedelta(0))
    folder = tmp_path / "journal"
    async with (
        streams.connect(backends.env["SWELL_NATS_URL"], "killed") as connected,
        redis_store.connect(backends.env["SWELL_REDIS_URL"]) as store,
    ):
        backends.kill("redis")
        try:
            async with stalled(backends, "nats"):
                killed = PullCounter(connected.stream, LocalJournal(folder, PullJournal(store)))
                async with publishing(killed), asyncio.timeout(60):
                    for _ in range(50):
                        killed.count(GRANT, IMAGE)
                    while not list(folder.glob("*.json")):  # noqa: ASYNC110 - written by a background task
                        await asyncio.sleep(0.05)
                    killed._events.clear()  # as SIGKILL does
        finally:
            await backends.restart("redis")
    async with publishing(PullCounter(nats.stream, LocalJournal(folder, PullJournal(redis)))):
        await published.reaches(50)
        async with asyncio.timeout(30):
            while list(folder.iterdir()):  # noqa: ASYNC110 - removed by a background task
                await asyncio.sleep(0.05)

    assert await published.total() == 50


async def test_a_journal_that_cannot_be_written_is_no_condition(tmp_path: Path) -> None:
    """Events are in Redis then; without Redis as well, the counter logs that they are in memory only."""
    occupied, events = tmp_path / "file", [ImagesPulled(id="a", day="2026-11-30", count=1)]
    occupied.write_text("no folder")
    working, failing = MemoryJournal(), MemoryJournal(fails=True)

    await LocalJournal(occupied, working).add(events)
    assert await LocalJournal(occupied, working).left() == working.events == events
    with pytest.raises(Unavailable):
        await LocalJournal(occupied, failing).add(events)
    await LocalJournal(tmp_path / "folder", failing).add(events)


class MemoryJournal:
    """A journal in memory, or one that does not answer."""

    def __init__(self, *, fails: bool = False) -> None:
        self.events: list[ImagesPulled] = []
        self._fails = fails

    async def add(self, events: Sequence[ImagesPulled]) -> None:
        if self._fails:
            raise Unavailable("the state store does not answer")
        self.events += events

    async def remove(self, event: ImagesPulled) -> None:
        self.events.remove(event)

    async def left(self) -> list[ImagesPulled]:
        return self.events


async def test_pulls_are_counted_while_redis_is_away(backends: Stack, nats: Nats, published: PublishedPulls) -> None:
    """The journal is a second chance, not a condition."""
    async with redis_store.connect(backends.env["SWELL_REDIS_URL"]) as connected:
        pull_counter = PullCounter(nats.stream, PullJournal(connected))
        backends.kill("redis")
        try:
            async with publishing(pull_counter):
                pull_counter.count(GRANT, IMAGE)
                await published.reaches(1)
        finally:
            await backends.restart("redis")
