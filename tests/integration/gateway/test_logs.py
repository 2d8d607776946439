"""Build logs, as a client reads them: the lines so far while a build runs, all of them when it has ended."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from gateway.adapters.builds.build_logs import BuildLogs
from swell.api.builds import BuildStep
from swell.errors import Unavailable
from swell.jobs.streams import Nats
from swell.store.logs import ATTEMPT, STEPS, LoggedStep, encode_header, log_key, log_subject
from swell.store.objects import MemoryObjects, Objects
from swell.store.s3_objects import connect
from swell_embedded.stack import Stack
from tests.stores import LOGS, s3_of

BUILD = "bd-c44968632f89dd6c_1"
NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.fixture(params=["memory", "s3"])
async def objects(request: pytest.FixtureRequest, backends: Stack) -> AsyncIterator[Objects]:
    if request.param == "memory":
        yield MemoryObjects()
        return
    async with connect(s3_of(backends.env), LOGS) as objects:
        yield objects


@pytest.fixture
def lines(nats: Nats) -> BuildLogs:
    """Logs of builds that have not ended."""
    return BuildLogs(MemoryObjects(), nats.stream)


async def publish_line(nats: Nats, line: str, build_id: str = BUILD) -> None:
    await nats.stream.publish(log_subject(build_id), line.encode())


async def read(log: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(30):
        return b"".join([piece async for piece in log])


async def test_a_running_build_is_read_up_to_its_last_line(nats: Nats, lines: BuildLogs) -> None:
    """In order, and only its own."""
    for number in range(100):
        await publish_line(nats, f"line {number}\n")
        await publish_line(nats, "not yours\n", "bd-another_1")

    assert await read(lines.so_far(BUILD)) == b"".join(b"line %d\n" % number for number in range(100))


async def test_a_log_that_grows_while_it_is_read_ends_all_the_same(nats: Nats, lines: BuildLogs) -> None:
    """A response ends at the line that was the last one at its start; the client may request the log again."""
    for number in range(3):
        await publish_line(nats, f"line {number}\n")
    log, got = lines.so_far(BUILD), []
    async for line in log:
        got.append(line)
        await publish_line(nats, "one more\n")

    assert got == [b"line 0\n", b"line 1\n", b"line 2\n"]


async def test_a_reader_that_leaves_early_leaves_nothing_behind(nats: Nats, lines: BuildLogs) -> None:
    """Its consumer goes, or a server would collect one for each hurried client."""
    for number in range(3):
        await publish_line(nats, f"line {number}\n")
    log = lines.so_far(BUILD)
    await anext(log)
    await log.aclose()  # type: ignore[attr-defined]

    async with asyncio.timeout(30):
        while (await nats.stream.stream_info("LOGS")).state.consumer_count:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_build_that_has_said_nothing_has_an_empty_log(lines: BuildLogs) -> None:
    """It waits in the queue: that is no error."""
    assert await read(lines.so_far(BUILD)) == b""


async def test_steps_are_read_from_the_stream_until_the_log_is_stored(nats: Nats) -> None:
    """The page of a build shows its steps at once, also while the object store is unavailable; never those of another
    attempt. When the log is stored without steps, the engine had none.
    """
    objects = MemoryObjects()
    logs = BuildLogs(objects, nats.stream)
    for attempt, name in ((1, "lost"), (2, "FROM base"), (2, "RUN true")):
        header = encode_header([LoggedStep(0, 1, BuildStep(number=1, name=name, started=NOW))])
        await nats.stream.publish(log_subject(BUILD), b"", headers={ATTEMPT: str(attempt), STEPS: header})

    assert [each.step.name for each in await logs.steps(BUILD, 2)] == ["FROM base", "RUN true"]
    assert [each.step.name for each in await BuildLogs(Unreachable(), nats.stream).steps(BUILD, 1)] == ["lost"]
    await objects.put(log_key(BUILD), b"a log")
    assert await logs.steps(BUILD, 2) == ()


class Unreachable(MemoryObjects):
    """An object store that does not answer."""

    async def get(self, key: str) -> bytes | None:
        raise Unavailable("the object store does not answer")


async def test_an_ended_build_is_read_whole(nats: Nats, objects: Objects) -> None:
    """The bytes are the same, for any output of the build."""
    whole = bytes(range(256)) * 10_000
    await objects.put(log_key(BUILD), whole)

    log = await BuildLogs(objects, nats.stream).complete(BUILD)

    assert log is not None
    assert await read(log) == whole


async def test_a_log_that_is_not_kept_is_none(nats: Nats, objects: Objects) -> None:
    """The reader then falls back to the lines in the stream."""
    assert await BuildLogs(objects, nats.stream).complete("bd-0_1") is None
