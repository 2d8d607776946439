"""A NATS server that is restarted with empty storage: streams and consumers are created again when they are used."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from gateway.adapters.builds.jobs import JobQueue
from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.consume import _Source, subscribe
from swell.jobs.messages import BuildDone, BuildJob
from swell.jobs.publish import is_queued, publish
from swell.jobs.streams import DEAD, JOBS, STREAMS, Nats
from swell.observe.backend_checks import nats_check
from swell_embedded.stack import Stack, open_backends
from tests.integration.jobs.test_consume import Worker, job, working
from tests.integration.outages import lose_data, stalled


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lost")


@pytest.fixture(scope="module")
async def stack(home: Path) -> AsyncIterator[Stack]:
    """A NATS server that only these tests use."""
    async with open_backends(home, ["nats"], environment={}) as opened:
        yield opened


@pytest.fixture
async def own(stack: Stack) -> AsyncIterator[Nats]:
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as connected:
        yield connected


async def published(nats: Nats, build_id: str) -> None:
    """Publish a job as soon as the connection is back."""
    async with asyncio.timeout(30):
        while True:
            with suppress(Unavailable):
                return await publish(nats.stream, job(build_id))
            await asyncio.sleep(0.1)


async def test_a_worker_continues_after_the_server_lost_everything(stack: Stack, home: Path, own: Nats) -> None:
    """The same connection publishes and consumes; all streams exist again."""
    worker = Worker()
    async with working(own, worker):
        await publish(own.stream, job("bd-1_1"))
        assert await worker.next() == ("bd-1_1", 1)
        await lose_data(stack, home, "nats")
        await published(own, "bd-2_1")
        assert await worker.next() == ("bd-2_1", 1)

    assert {info.config.name for info in await own.stream.streams_info()} == {config.name for config in STREAMS}


async def test_a_worker_starts_while_the_server_does_not_answer(
    stack: Stack, own: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that starts during an outage of seconds tries again, and does not end."""
    attempts, opening = asyncio.Queue[None](), _Source.open

    async def counted(source: _Source) -> None:
        attempts.put_nowait(None)
        await opening(source)

    monkeypatch.setattr(_Source, "open", counted)
    monkeypatch.setattr(own.stream, "_timeout", 0.2)
    worker = Worker()
    async with asyncio.timeout(60), stalled(stack, "nats"):
        working_again = working(own, worker)
        await working_again.__aenter__()
        for _ in range(2):
            await attempts.get()
    await published(own, "bd-8_1")
    assert await worker.next() == ("bd-8_1", 1)
    await working_again.__aexit__(None, None, None)


async def test_a_worker_continues_after_its_stream_was_deleted(own: Nats) -> None:
    """An operator may do that by mistake, while the connection stays open."""
    worker = Worker()
    async with working(own, worker):
        await publish(own.stream, job("bd-7_1"))
        assert await worker.next() == ("bd-7_1", 1)
        await own.stream.delete_stream(JOBS)
        await published(own, "bd-3_1")
        assert await worker.next() == ("bd-3_1", 1)


async def test_a_dead_letter_is_stored_without_its_stream(own: Nats) -> None:
    """A job that cannot be handled stays visible to the operator."""

    async def broken(_: BuildJob, __: int) -> None:
        raise ValueError

    await own.stream.delete_stream(DEAD)
    async with working(own, broken):
        await own.stream.publish("jobs.build.bd-4_1", b"not JSON")
        async with asyncio.timeout(30):
            while not await dead(own):  # noqa: ASYNC110 - the consumer publishes it
                await asyncio.sleep(0.05)


async def dead(nats: Nats) -> int:
    with suppress(NotFoundError):
        return (await nats.stream.stream_info(DEAD)).state.messages
    return 0


async def test_an_event_reaches_its_subscribers_without_a_stream(own: Nats) -> None:
    """Waiting pulls are woken by the first event after the loss."""
    received = asyncio.Queue[str]()
    await subscribe(own, BuildDone, lambda event: received.put_nowait(event.id))
    await own.stream.delete_stream("EVENTS")
    now = datetime.now(UTC)
    await publish(
        own.stream, BuildDone(id="bd-5_1", target_image="r/i:t", platform="linux/amd64", succeeded=True, finished=now)
    )

    async with asyncio.timeout(30):
        assert await received.get() == "bd-5_1"


async def test_the_gateway_detects_once_that_the_queue_lost_its_jobs(own: Nats) -> None:
    """Then it publishes every open build again; a queue that only waits is no loss."""
    queue = JobQueue(own)
    await publish(own.stream, job("bd-6_1"))
    assert [await queue.was_lost(), await queue.was_lost()] == [False, False]
    await own.stream.delete_stream(JOBS)

    assert not await is_queued(own.stream, BuildJob, "bd-6_1")
    assert [await queue.was_lost(), await queue.was_lost()] == [True, False]
    assert (await own.stream.stream_info(JOBS)).state.messages == 0


async def test_the_gateway_is_ready_when_nats_can_store_messages(stack: Stack, home: Path, own: Nats) -> None:
    """An open connection is not enough: the server may be stalled, or without streams."""
    check = nats_check(own)
    assert await check.problem() == ""
    async with stalled(stack, "nats"):
        assert await check.problem() == "the message queue does not answer within 2 s"
    await lose_data(stack, home, "nats")

    async with asyncio.timeout(30):
        while await check.problem():  # noqa: ASYNC110 - the client reconnects in the background
            await asyncio.sleep(0.1)
    assert (await own.stream.stream_info(JOBS)).state.messages == 0
