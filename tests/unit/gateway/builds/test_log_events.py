"""Log events: one stream from the first line to the result, also across attempts and reconnections."""

from collections.abc import AsyncIterator

import pytest

from gateway.builds.event_encoding import HEARTBEAT, Lines, Position, parse_position
from gateway.builds.log_events import LogEvents
from swell.api.builds import BuildStep
from swell.errors import NotFound
from swell.store.builds.memory import MemoryBuilds
from swell.store.logs import LoggedStep
from swell.store.records import BuildResult, Submission
from tests.unit.gateway.builds.eventsource import Event, parse
from tests.unit.gateway.doubles import NOON, MemoryFeeds, ended

BUILD = "bd-c44968632f89dd6c_1"


class KeptLogs:
    """Whole logs, in pieces as small as they come."""

    def __init__(self) -> None:
        self.pieces: list[bytes] | None = None
        self.stored_steps: tuple[LoggedStep, ...] = ()

    async def steps(self, build_id: str, attempt: int) -> tuple[LoggedStep, ...]:
        return self.stored_steps

    async def complete(self, build_id: str) -> AsyncIterator[bytes] | None:
        return self._each(self.pieces) if self.pieces is not None else None

    async def _each(self, pieces: list[bytes]) -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece


@pytest.fixture
def feeds() -> MemoryFeeds:
    return MemoryFeeds()


@pytest.fixture
def logs() -> KeptLogs:
    return KeptLogs()


@pytest.fixture
async def log_events(builds: MemoryBuilds, feeds: MemoryFeeds, logs: KeptLogs) -> LogEvents:
    """One build is running."""
    submission = Submission(
        container_id="c44968632f89dd6c",
        target_image="registry.example.com/team/builds:c44968632f89dd6c",
        containerfile="FROM alpine\n",
        platform="linux/amd64",
        created=NOON,
    )
    await builds.submit(submission)
    return LogEvents(builds, feeds, logs)


async def watch(log_events: LogEvents, after: Position = Position()) -> list[Event]:  # noqa: B008
    stream = await log_events.stream(BUILD, after)
    assert stream is not None
    return parse(b"".join([piece async for piece in stream]))


def shown(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.id, event.data if event.name == "message" else event.name) for event in events]


async def test_lines_come_in_order_and_then_the_end(log_events: LogEvents, feeds: MemoryFeeds) -> None:
    """The basic stream: lines, then the result."""
    feeds.lines_of[BUILD] = [Lines(1, 1, b"one\ntwo\n"), Lines(1, 3, b"three\n")]
    feeds.result = ended(succeeded=True)

    events = await watch(log_events)

    assert shown(events) == [("1-1", "one"), ("1-2", "two"), ("1-3", "three"), ("1-end", "end")]
    assert '"succeeded":true' in events[-1].data


async def test_a_quiet_build_says_that_it_goes_on(log_events: LogEvents, feeds: MemoryFeeds) -> None:
    """Proxies cut connections on which nothing moves."""
    feeds.lines_of[BUILD] = [None]
    stream = await log_events.stream(BUILD, Position())
    assert stream is not None

    assert HEARTBEAT in [piece async for piece in stream]


async def test_lines_that_were_not_streamed_come_from_the_kept_log(
    log_events: LogEvents, feeds: MemoryFeeds, logs: KeptLogs
) -> None:
    """The message queue was unavailable at the end; the client still gets all lines."""
    feeds.lines_of[BUILD] = [Lines(1, 1, b"one\n")]
    feeds.result, feeds.is_whole = ended(succeeded=False), False
    logs.pieces = [b"one\ntw", b"o\nthr", b"ee"]

    assert shown(await watch(log_events)) == [("1-1", "one"), ("1-2", "two"), ("1-3", "three"), ("1-end", "end")]


async def test_a_disconnected_client_gets_no_end(log_events: LogEvents, feeds: MemoryFeeds) -> None:
    """Its gateway stops; the client comes again elsewhere, with the id of the last line it has."""
    feeds.lines_of[BUILD] = [Lines(1, 1, b"one\n")]

    assert shown(await watch(log_events)) == [("1-1", "one")]


@pytest.mark.parametrize("known", [0, 1, 2, 3])
async def test_an_ended_build_is_streamed_from_its_stored_log(
    log_events: LogEvents, builds: MemoryBuilds, logs: KeptLogs, known: int
) -> None:
    """Under the same ids, so that a client that was away goes on."""
    await builds.finish(BUILD, ended(succeeded=True))
    logs.pieces = [b"one\n", b"two\nthree\n"]

    events = await watch(log_events, Position(1, known))

    assert [event.id for event in events] == [*(f"1-{number}" for number in range(known + 1, 4)), "1-end"]


async def test_a_watcher_of_a_crashed_attempt_receives_the_whole_next_one(
    log_events: LogEvents, builds: MemoryBuilds, logs: KeptLogs
) -> None:
    """Its lines count from one again, and the stream says so."""
    await builds.finish(BUILD, in_attempt(2))
    logs.pieces = [b"again one\n"]

    events = await watch(log_events, Position(1, 500))

    assert [(event.name, event.id) for event in events] == [("restart", ""), ("message", "2-1"), ("end", "2-end")]


async def test_a_build_whose_log_is_gone_has_ended_all_the_same(
    log_events: LogEvents, feeds: MemoryFeeds, builds: MemoryBuilds
) -> None:
    """An expired log does not hide the result."""
    feeds.result = await builds.finish(BUILD, ended(succeeded=True))

    assert shown(await watch(log_events)) == [("1-end", "end")]


async def test_a_build_whose_log_is_not_stored_yet_is_read_from_the_stream(
    log_events: LogEvents, feeds: MemoryFeeds, builds: MemoryBuilds
) -> None:
    """The result is published while the object store is full."""
    feeds.lines_of[BUILD] = [Lines(1, 1, b"said\n")]
    feeds.result = await builds.finish(BUILD, ended(succeeded=True))

    assert shown(await watch(log_events)) == [("1-1", "said"), ("1-end", "end")]


async def test_a_client_with_the_last_event_gets_no_more(log_events: LogEvents) -> None:
    """A browser would come again and again otherwise."""
    assert await log_events.stream(BUILD, Position(1, 0, is_end=True)) is None


async def test_an_unknown_build_cannot_be_watched(log_events: LogEvents) -> None:
    """A wrong id is an error at once, not an endless stream."""
    with pytest.raises(NotFound):
        await log_events.stream("bd-0_1", Position())


def in_attempt(attempt: int) -> BuildResult:
    return BuildResult(succeeded=True, exit_status=0, started=NOON, finished=NOON, attempt=attempt)


def logged(line: int, order: int = 1) -> LoggedStep:
    """The *order*th step after *line*."""
    return LoggedStep(line, order, BuildStep(number=line, name="RUN true", started=NOON))


@pytest.mark.parametrize("known", range(9))
async def test_a_finished_build_has_its_steps_where_they_were(
    log_events: LogEvents, builds: MemoryBuilds, logs: KeptLogs, known: int
) -> None:
    """In the same order as in the stream, from any line and step on."""
    await builds.finish(BUILD, ended(succeeded=True))
    logs.pieces = [b"one\ntw", b"o\nthree\n", b"four\n"]
    logs.stored_steps = (logged(0), logged(2), logged(2, 2), logged(4))
    ids = ["", "1-0.1", "1-1", "1-2", "1-2.1", "1-2.2", "1-3", "1-4", "1-4.1", "1-end"]

    events = await watch(log_events, parse_position(ids[known]))

    assert [event.id for event in events] == ids[known + 1 :]


async def test_steps_that_were_not_streamed_are_read_from_the_stored_log(
    log_events: LogEvents, feeds: MemoryFeeds, logs: KeptLogs
) -> None:
    """The queue may have been unavailable in between."""
    feeds.lines_of[BUILD] = [Lines(1, 1, b"one\n", (logged(1),))]
    feeds.result, feeds.is_whole = ended(succeeded=True), False
    logs.pieces = [b"one\ntwo\n"]
    logs.stored_steps = (logged(1), logged(1, 2), logged(2))

    assert [event.id for event in await watch(log_events)] == ["1-1", "1-1.1", "1-1.2", "1-2", "1-2.1", "1-end"]
