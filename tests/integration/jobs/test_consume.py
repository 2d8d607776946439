"""Jobs over a real NATS server: taken once, never lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from swell.concurrency.drain import Drain
from swell.errors import Unavailable
from swell.jobs.consume import Handler, consume, subscribe
from swell.jobs.messages import BuildDone, BuildJob
from swell.jobs.pause import Pause
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell.log import current_trace, tracing

LEASE = timedelta(seconds=3)  # a heartbeat comes after a third of it, also on a machine that is busy


def job(build_id: str) -> BuildJob:
    return BuildJob(id=build_id, target_image="r/i:t", containerfile="FROM a", platform="linux/amd64")


class Worker:
    """Takes jobs, and does with each what *does* does."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def __call__(self, message: BuildJob, attempt: int) -> None:
        await self.taken.put((message.id, attempt))
        await self.does(message.id, attempt)

    async def does(self, build_id: str, attempt: int) -> None:
        """Nothing: the job is done."""

    async def next(self) -> tuple[str, int]:
        async with asyncio.timeout(60):
            return await self.taken.get()


@asynccontextmanager
async def working(
    nats: Nats, worker: Handler[BuildJob], *, limit: timedelta = timedelta(0), **options: Any
) -> AsyncIterator[None]:
    """A worker that is asked to stop at the end of the block, with a drain of at most *limit*."""
    drain = Drain(limit)
    task = asyncio.create_task(consume(nats.stream, "builder", BuildJob, worker, lease=LEASE, drain=drain, **options))
    try:
        yield
    finally:
        drain.start()
        task.cancel()
        await asyncio.wait([task])


async def jobs_left(nats: Nats) -> int:
    """The number of unfinished jobs, polled until the server has taken in the last acknowledgement."""
    for _ in range(400):
        left = (await nats.stream.stream_info("JOBS")).state.messages
        if not left:
            break
        await asyncio.sleep(0.05)
    return left


async def test_a_job_said_twice_is_done_once(nats: Nats) -> None:
    """A gateway that is not sure whether it said it says it again."""
    worker = Worker()
    for build_id in ("bd-1_1", "bd-1_1", "bd-2_1"):
        await publish(nats.stream, job(build_id))
    async with working(nats, worker):
        done = [await worker.next(), await worker.next()]

    assert done == [("bd-1_1", 1), ("bd-2_1", 1)]
    assert await jobs_left(nats) == 0


async def test_a_job_longer_than_its_lease_stays_with_its_worker(nats: Nats) -> None:
    """Heartbeats keep it: no other worker receives the job while it is being done."""

    class Slow(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            await asyncio.sleep(LEASE.total_seconds() * 2.5)

    worker = Slow()
    await publish(nats.stream, job("bd-1_1"))
    async with working(nats, worker, slots=2, limit=timedelta(seconds=60)):
        assert await worker.next() == ("bd-1_1", 1)

    assert worker.taken.empty()
    assert await jobs_left(nats) == 0


async def test_a_worker_that_is_stopped_gives_its_job_back(nats: Nats) -> None:
    """At once, not after the lease: the next attempt counts on."""

    class Stuck(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            await asyncio.Event().wait()

    stuck, next_one = Stuck(), Worker()
    await publish(nats.stream, job("bd-1_1"))
    async with working(nats, stuck):
        assert await stuck.next() == ("bd-1_1", 1)
    async with working(nats, next_one):
        assert await next_one.next() == ("bd-1_1", 2)


async def test_a_worker_that_is_asked_to_stop_takes_no_further_job(nats: Nats) -> None:
    """It finishes the one that it has; the next one is for another worker, at once and as its first attempt."""
    begun, go = asyncio.Event(), asyncio.Event()

    class Slow(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            begun.set()
            await go.wait()

    slow, next_one, drain = Slow(), Worker(), Drain(timedelta(minutes=5))
    await publish(nats.stream, job("bd-1_1"))
    consuming = consume(nats.stream, "builder", BuildJob, slow, lease=LEASE, slots=2, drain=drain)
    task = asyncio.create_task(consuming)
    await begun.wait()
    drain.start()
    task.cancel()
    await asyncio.wait([task], timeout=0.2)  # it unsubscribes before it waits
    await publish(nats.stream, job("bd-2_1"))
    async with working(nats, next_one):
        assert await next_one.next() == ("bd-2_1", 1)
    go.set()
    await asyncio.wait([task])

    assert [await slow.next(), slow.taken.empty()] == [("bd-1_1", 1), True]
    assert await jobs_left(nats) == 0


async def test_a_job_is_delivered_again_after_unavailable(nats: Nats) -> None:
    """An outage of a backend costs time, not jobs."""

    class Unlucky(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            if attempt == 1:
                raise Unavailable

    worker = Unlucky()
    await publish(nats.stream, job("bd-1_1"))
    async with working(nats, worker):
        assert [await worker.next(), await worker.next()] == [("bd-1_1", 1), ("bd-1_1", 2)]
    assert await jobs_left(nats) == 0


async def test_an_unreadable_job_does_not_block_the_queue(nats: Nats) -> None:
    """The next job is handled."""
    worker = Worker()
    await nats.stream.publish(f"{BuildJob.subject}.bd-1_1", b"{not json")
    await publish(nats.stream, job("bd-2_1"))
    async with working(nats, worker):
        assert await worker.next() == ("bd-2_1", 1)
    assert await jobs_left(nats) == 0


async def test_slots_limit_concurrent_handlers(nats: Nats) -> None:
    """A builder runs no more builds than it has room for in memory."""
    at_once = most = 0

    class Counting(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.1)
            at_once -= 1

    worker = Counting()
    for number in range(6):
        await publish(nats.stream, job(f"bd-{number}_1"))
    async with working(nats, worker, slots=2, limit=timedelta(seconds=60)):
        for _ in range(6):
            await worker.next()

    assert most == 2


async def test_the_trace_travels_with_the_job(nats: Nats) -> None:
    """One request can be followed through the logs of all services."""
    seen: dict[str, object] = {}

    class Looking(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            seen.update(current_trace()._asdict())

    worker = Looking()
    with tracing("request-7", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"):
        await publish(nats.stream, job("bd-1_1"))
    async with working(nats, worker, limit=timedelta(seconds=60)):
        await worker.next()

    assert (seen["request_id"], seen["trace_id"]) == ("request-7", "0af7651916cd43dd8448eb211c80319c")


async def test_events_reach_every_subscriber(nats: Nats) -> None:
    """Plain subscribers receive what JetStream stores."""
    from tests.unit.gateway.doubles import NOON

    heard: asyncio.Queue[BuildDone] = asyncio.Queue()
    await subscribe(nats, BuildDone, heard.put_nowait)
    done = BuildDone(id="bd-1_1", target_image="r/i:t", platform="linux/amd64", succeeded=True, finished=NOON)
    await publish(nats.stream, done)

    async with asyncio.timeout(30):
        assert await heard.get() == done


async def test_during_a_pause_jobs_are_for_other_workers(nats: Nats) -> None:
    """A drained builder finishes what it runs, and takes nothing; afterwards it takes jobs again."""
    pause, release = Pause(), asyncio.Event()

    class Slow(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            await release.wait()

    worker, other = Slow(), Worker()
    async with working(nats, worker, pause=pause, slots=2):
        await publish(nats.stream, job("bd-1_1"))
        assert (await worker.next())[0] == "bd-1_1"
        pause.set(active=True)
        async with working(nats, other):
            for number in range(2, 6):
                await publish(nats.stream, job(f"bd-{number}_1"))
            taken = {(await other.next())[0] for _ in range(4)}
        assert (taken, pause.running) == ({f"bd-{number}_1" for number in range(2, 6)}, 1)
        assert worker.taken.empty()
        pause.set(active=False)
        await publish(nats.stream, job("bd-6_1"))
        assert (await worker.next())[0] == "bd-6_1"
        release.set()
        assert await jobs_left(nats) == 0
