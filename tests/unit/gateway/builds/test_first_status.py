"""The first status of a request waits for the end of a short build; a client that polls every second does not wait."""

import asyncio
from datetime import timedelta

import pytest

from gateway.adapters.builds.build_waiter import BuildWaiter
from gateway.builds import first_status as module
from gateway.builds.first_status import NEW, FirstStatus
from gateway.builds.queries import BuildQueries
from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord
from swell.concurrency import notifier
from swell.jobs.messages import BuildDone
from swell.store.builds.memory import MemoryBuilds
from swell.store.records import Build, Submission
from tests.unit.gateway.builds.test_queries import MemoryLogs
from tests.unit.gateway.doubles import NOON, MemoryGrants, MemoryImages, ended, scan_status

TOKEN = "b7e20c5519fa"
SUBMISSION = Submission(
    container_id="c44968632f89dd6c",
    target_image="registry.example.com/team/builds:c44968632f89dd6c",
    containerfile="FROM alpine:3.20\n",
    platform="linux/amd64",
    created=NOON,
)


class GatedEnds:
    """Builds that end when `gate` is set; `waiting` has an item for each wait that began."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.waiting = asyncio.Queue[str]()

    async def wait_at_most(self, build_id: str, seconds: float) -> None:
        self.waiting.put_nowait(build_id)
        await self.gate.wait()


class WatchedBuilds(MemoryBuilds):
    """`reads` has an item for each time that a build was read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = asyncio.Queue[str]()

    async def get(self, build_id: str) -> Build | None:
        self.reads.put_nowait(build_id)
        return await super().get(build_id)


def grant_of(token: str = TOKEN, build_id: str | None = "bd-c44968632f89dd6c_1") -> Grant:
    return Grant(
        token=token,
        image=SUBMISSION.target_image,
        platform="linux/amd64",
        created=NOON,
        expires=NOON + timedelta(hours=36),
        build_id=build_id,
    )


def record_of(token: str = TOKEN, fingerprint: str | None = None) -> ContainerRecord:
    return ContainerRecord(
        id=token,
        platform="linux/amd64",
        timestamp=NOON,
        zone_id="Z",
        source_image=SUBMISSION.target_image,
        expiration=NOON,
        fingerprint=fingerprint,
        mirror=False,
    )


@pytest.fixture
def ends() -> GatedEnds:
    return GatedEnds()


@pytest.fixture
async def first_status(grants: MemoryGrants, ends: GatedEnds) -> FirstStatus:
    ends.gate.set()
    await grants.put(grant_of(), record_of())
    return FirstStatus(grants, ends, lambda: NOON + timedelta(seconds=1))


async def test_the_first_status_is_sent_when_the_build_ends(
    grants: MemoryGrants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event of the build ends the wait; here nothing else would, as the store is not polled."""
    monkeypatch.setattr(notifier, "POLL_SECONDS", 3600)
    monkeypatch.setattr(module, "HOLD_SECONDS", 3600)
    builds = WatchedBuilds()
    build_id, _ = await builds.submit(SUBMISSION)
    await grants.put(grant_of(build_id=build_id), record_of())
    waiter = BuildWaiter(builds, timedelta(minutes=1))
    first = FirstStatus(grants, waiter, lambda: NOON)
    queries = BuildQueries(
        grants, MemoryImages(), builds, MemoryLogs(), "https://wave.example.org", first, scan_status()
    )

    status = asyncio.create_task(queries.container_status(TOKEN))
    async with asyncio.timeout(30):
        for _ in range(2):  # by the query and by the waiter
            await builds.reads.get()
        assert not status.done()
        result = await builds.finish(build_id, ended(succeeded=True))
        waiter.on_build_done(BuildDone.of(build_id, SUBMISSION, result))

        assert (await status).status == "DONE"


async def test_the_wait_has_an_end(grants: MemoryGrants, builds: MemoryBuilds, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long build is answered as before: it is still being built."""
    monkeypatch.setattr(module, "HOLD_SECONDS", 0.01)
    build_id, _ = await builds.submit(SUBMISSION)
    await grants.put(grant_of(build_id=build_id), record_of())
    first = FirstStatus(grants, BuildWaiter(builds, timedelta(minutes=1)), lambda: NOON)
    queries = BuildQueries(
        grants, MemoryImages(), builds, MemoryLogs(), "https://wave.example.org", first, scan_status()
    )

    assert (await queries.container_status(TOKEN)).status == "BUILDING"


async def test_only_the_first_status_is_held(first_status: FirstStatus) -> None:
    """Later polls are a client's own loop, and a browser's reload."""
    assert await first_status.hold(grant_of())
    assert not await first_status.hold(grant_of())


async def test_an_old_request_is_not_held(grants: MemoryGrants, ends: GatedEnds) -> None:
    """A client that comes back later wants to know now."""
    await grants.put(grant_of(), record_of())

    assert not await FirstStatus(grants, ends, lambda: NOON + 2 * NEW).hold(grant_of())


async def test_a_request_with_a_fingerprint_is_not_held(first_status: FirstStatus, grants: MemoryGrants) -> None:
    """Nextflow sends one, polls each second, and runs its polls one after the other."""
    await grants.put(grant_of(), record_of(fingerprint="cafe"))

    assert not await first_status.hold(grant_of())


async def test_a_request_without_a_build_or_record_is_not_held(first_status: FirstStatus) -> None:
    """There is nothing to wait for, or no knowledge of its client."""
    assert not await first_status.hold(grant_of(build_id=None))
    assert not await first_status.hold(grant_of("unknown"))


async def test_held_responses_are_bounded(
    grants: MemoryGrants, ends: GatedEnds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond that, the first status is sent at once; a place that becomes free is used again."""
    monkeypatch.setattr(module, "MAX_HELD", 2)
    first_status = FirstStatus(grants, ends, lambda: NOON)
    for number in range(4):
        await grants.put(grant_of(f"t{number}"), record_of(f"t{number}"))
    held = [asyncio.create_task(first_status.hold(grant_of(f"t{number}"))) for number in range(2)]
    for _ in held:
        await ends.waiting.get()

    assert not await first_status.hold(grant_of("t2"))
    ends.gate.set()
    assert await asyncio.gather(*held) == [True, True]
    assert await first_status.hold(grant_of("t3"))
