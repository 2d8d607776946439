"""Log streams over a real NATS server: many clients, from any position, through failures."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest

from gateway.adapters.builds import log_streams
from gateway.builds.event_encoding import HEARTBEAT, Position
from swell.api.builds import BuildStep
from swell.errors import Unavailable
from swell.jobs.streams import Nats, connect
from swell.store.logs import STREAM, log_subject
from swell.store.records import BuildResult
from swell_embedded.stack import open_backends
from tests.integration.watching.harness import Harness
from tests.unit.gateway.doubles import NOON, ended

OK = ended(succeeded=True)


def in_attempt(attempt: int) -> BuildResult:
    return BuildResult(
        succeeded=True, exit_status=0, started=NOON, finished=NOON + timedelta(seconds=1), attempt=attempt
    )


async def test_a_line_is_seen_as_it_comes_and_the_stream_ends_with_the_build(harness: Harness) -> None:
    """A client sees progress without polling."""
    build_id = await harness.submit()
    async with harness.gateway() as gateway:
        async with harness.logs.open(build_id) as log:
            await log.write_line(b"one")
            screen = await gateway.watch(build_id)
            await screen.sees(b"one")
            await log.write_line(b"two")
            await screen.sees(b"two")
        await harness.ends.end(build_id, OK)

        events = await screen.end()

    assert [event.id for event in events] == ["1-1", "1-2", "1-end"]
    assert events[-1].name == "end"


async def test_watchers_from_anywhere_in_the_log_see_the_same_lines(harness: Harness) -> None:
    """Early and late ones, those that come back, and those that come when all is over."""
    build_id = await harness.submit()
    async with harness.gateway() as gateway:
        early = await gateway.watch(build_id)
        async with harness.logs.open(build_id) as log:
            for number in range(1, 501):
                await log.write_line(b"line %d" % number)
                if number % 100 == 0:
                    await asyncio.sleep(0.06)  # another message
            await early.sees(b"line 500\n")
            late = await gateway.watch(build_id)
            back = await gateway.watch(build_id, Position(1, 250))
        await harness.ends.end(build_id, OK)
        afterwards = await gateway.watch(build_id)
        again = await gateway.watch(build_id, Position(1, 250))
        seen = [await each.end() for each in (early, late, back, afterwards, again)]

    assert seen[0] == seen[1] == seen[3]
    assert seen[2] == seen[4] == seen[0][250:]
    assert [event.data for event in seen[0][:-1]] == [f"line {number}" for number in range(1, 501)]


async def test_steps_are_seen_between_their_lines_by_every_watcher(harness: Harness) -> None:
    """Live, after a reconnection at a step, and when the build has ended: the same events with the same ids."""
    build_id = await harness.submit()
    async with harness.gateway() as gateway:
        early = await gateway.watch(build_id)
        async with harness.logs.open(build_id) as log:
            for number in range(1, 301):
                await log.write_line(b"line %d" % number)
                await log.write_step(BuildStep(number=number, name="RUN \U0001f600" * 50, started=NOON))
                if number % 100 == 0:
                    await early.sees(b"line %d\n" % number)
            back = await gateway.watch(build_id, Position(1, 250, 1))
        await harness.ends.end(build_id, OK)
        afterwards = await gateway.watch(build_id)
        again = await gateway.watch(build_id, Position(1, 250, 1))
        seen = [await each.end() for each in (early, back, afterwards, again)]

    assert seen[0] == seen[2]
    assert seen[1] == seen[3] == seen[0][500:]
    assert [event.id for event in seen[0][:4]] == ["1-1", "1-1.1", "1-2", "1-2.1"]
    assert len(seen[0]) == 601


async def test_a_thousand_watchers_are_one_subscription_and_no_consumer(harness: Harness) -> None:
    """The server does the same for one as for all of them; when they have gone, nothing is left."""
    build_id = await harness.submit()
    async with harness.gateway() as gateway, harness.logs.open(build_id) as log:
        before = harness.nats.client.stats["in_msgs"]
        screens = await asyncio.gather(*(gateway.watch(build_id) for _ in range(1000)))
        for number in range(20):
            await log.write_line(b"line %d" % number)
            await asyncio.sleep(0.06)
        await asyncio.gather(*(screen.sees(b"line 19") for screen in screens))

        assert harness.nats.client.stats["in_msgs"] - before < 200
        assert (await harness.nats.stream.stream_info(STREAM)).state.consumer_count == 0
        assert len({screen.stream.partition(b"\n\n")[2].replace(HEARTBEAT, b"") for screen in screens}) == 1
        for screen in screens:
            await screen.leave()
        assert gateway.feeds._streams == {}
        assert gateway.feeds._clients == 0


async def test_watchers_are_bounded_in_all_and_for_one_build(harness: Harness) -> None:
    """The next client gets `Retry-After` before anything is sent; a place that becomes free can be used."""
    one, other = await harness.submit(1), await harness.submit(2)
    async with harness.gateway(most=3, most_of_one=2) as gateway:
        first, second = [await gateway.watch(one) for _ in range(2)]
        with pytest.raises(Unavailable, match="too many"):
            await _first(gateway.log_events, one)
        third = await gateway.watch(other)
        with pytest.raises(Unavailable, match="too many") as caught:
            await _first(gateway.log_events, other)
        assert caught.value.retry_after
        await first.leave()
        fourth = await gateway.watch(other)
        for screen in (second, third, fourth):
            await screen.leave()


async def test_a_watcher_that_reads_nothing_delays_no_other_and_costs_no_memory(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has not seen is in the stream; it goes on from there, however late."""
    monkeypatch.setattr(log_streams, "CACHE", 100_000)
    build_id = await harness.submit()
    async with harness.gateway() as gateway, harness.logs.open(build_id) as log:
        stuck = await gateway.log_events.stream(build_id, Position())
        assert stuck is not None
        assert (await anext(stuck)).startswith(b"retry:")
        quick = await gateway.watch(build_id)
        for number in range(100):
            await log.write_line(b"%d " % number + b"w" * 10_000)
        await log.write_line(b"and no more")
        await quick.sees(b"data: 99 w")
        assert gateway.feeds._cache.currsize <= 100_000

        got = b""
        async with asyncio.timeout(60):
            while b"data: 99 w" not in got:
                got += await anext(stuck)
        assert got.count(b"data: ") >= 100
        await quick.leave()
        await stuck.aclose()  # type: ignore[attr-defined]


async def test_a_quiet_build_has_a_heartbeat(harness: Harness) -> None:
    """Proxies close connections that are idle."""
    build_id = await harness.submit()
    async with harness.gateway(heartbeat=0.05) as gateway:
        screen = await gateway.watch(build_id)
        await screen.sees(HEARTBEAT)
        await screen.leave()


async def test_a_restart_of_the_build_is_an_event(harness: Harness) -> None:
    """The builder died; the lines of the next attempt count from one again."""
    build_id = await harness.submit()
    async with harness.gateway() as gateway:
        screen = await gateway.watch(build_id)
        await harness.die(build_id, 1, 3, seen=lambda: screen.sees(b"1-3\n"))
        async with harness.logs.open(build_id, 2) as log:
            await log.write_line(b"again")
        await harness.ends.end(build_id, in_attempt(2))
        events = await screen.end()

    assert [(event.name, event.id) for event in events[3:]] == [
        ("restart", "1-3"),
        ("message", "2-1"),
        ("end", "2-end"),
    ]


async def test_a_gateway_that_stops_sends_its_watchers_to_another(harness: Harness, backends: object) -> None:
    """Without an end, which a browser takes for a reason to come again with the last id it has."""
    build_id = await harness.submit()
    async with harness.gateway() as first, harness.gateway() as second, harness.logs.open(build_id) as log:
        screen = await first.watch(build_id)
        await log.write_line(b"one")
        await screen.sees(b"1-1\n")
        first.feeds.close()
        events = await screen.end()
        assert [event.name for event in events] == ["message"]
        with pytest.raises(Unavailable):
            await _first(first.log_events, build_id)

        await log.write_line(b"two")
        elsewhere = await second.watch(build_id, Position(1, 1))
        await elsewhere.sees(b"two")
        assert [event.id for event in elsewhere.events] == ["1-2"]
        await elsewhere.leave()


async def test_a_server_that_was_away_is_read_on_from_the_last_line(tmp_path: Path) -> None:
    """Ten seconds without NATS: the client stays connected, misses no line of the stream, and gets the result."""
    async with open_backends(tmp_path / "home", ("nats",), environment={}) as stack:
        url = stack.env["SWELL_NATS_URL"]
        async with connect(url, "builder") as builders, connect(url, "gateway") as gateways:
            harness = Harness(builders, tmp_path / "logs")
            build_id = await harness.submit()
            async with harness.gateway(gateways, heartbeat=0.5) as gateway:
                screen = await gateway.watch(build_id)
                async with harness.logs.open(build_id) as log:
                    await log.write_line(b"before")
                    await screen.sees(b"before")
                    stack.kill("nats")
                    await log.write_line(b"meanwhile")
                    await screen.sees(HEARTBEAT)
                    await asyncio.sleep(10)
                    await stack.restart("nats")
                    await log.write_line(b"after")
                    await screen.sees(b"after", 30)
                await harness.ends.end(build_id, OK)
                events = await screen.end()

    assert [event.data for event in events[:-1]] == ["before", "meanwhile", "after"]
    assert [event.id for event in events] == ["1-1", "1-2", "1-3", "1-end"]


async def test_a_build_that_ends_while_the_server_is_away_ends_its_stream_with_all_lines(tmp_path: Path) -> None:
    """The kept log has them."""
    async with open_backends(tmp_path / "home", ("nats",), environment={}) as stack:
        url = stack.env["SWELL_NATS_URL"]
        async with connect(url, "builder") as builders, connect(url, "gateway") as gateways:
            harness = Harness(builders, tmp_path / "logs")
            build_id = await harness.submit()
            async with harness.gateway(gateways) as gateway:
                screen = await gateway.watch(build_id)
                async with harness.logs.open(build_id) as log:
                    await log.write_line(b"before")
                    await screen.sees(b"before")
                    stack.kill("nats")
                    for number in range(2, 10):
                        await log.write_line(b"line %d" % number)
                await harness.ends.end(build_id, OK)
                events = await screen.end()

    assert [event.id for event in events] == [*(f"1-{number}" for number in range(1, 10)), "1-end"]


async def test_lines_that_the_stream_has_deleted_are_a_gap(harness: Harness) -> None:
    """A client can see that lines are missing."""
    build_id = await harness.submit()
    async with harness.gateway() as gateway, harness.logs.open(build_id) as log:
        await log.write_line(b"one")
        screen = await gateway.watch(build_id)
        await screen.sees(b"one")
        await harness.nats.stream.purge_stream(STREAM, subject=log_subject(build_id))
        await screen.leave()
        await log.write_line(b"two")
        late = await gateway.watch(build_id)
        await late.sees(b"two")
        await late.leave()

    assert [(event.name, event.data) for event in late.events] == [
        ("gap", '{"attempt":1,"from":1,"to":1}'),
        ("message", "two"),
    ]


async def test_a_build_of_which_nothing_is_known_any_more_ends_its_stream(harness: Harness, nats: Nats) -> None:
    """Its record has expired while it was watched."""
    from swell.errors import BuildFailed

    class Gone:
        async def result(self, build_id: str) -> BuildResult:
            raise BuildFailed

    build_id = await harness.submit()
    harness.ends = Gone()  # type: ignore[assignment]
    async with harness.gateway() as gateway:
        screen = await gateway.watch(build_id)
        assert await screen.end() == []


async def _first(log_events: object, build_id: str) -> bytes:
    pieces = await log_events.stream(build_id, Position())  # type: ignore[attr-defined]
    return bytes(await anext(pieces))


async def test_a_watcher_sees_the_lines_after_the_stream_was_lost(harness: Harness) -> None:
    """A new stream counts from 1 again: its lines are found, and the lines of another build are never shown."""
    mine, other = await harness.submit(1), await harness.submit(2)
    async with harness.gateway() as gateway:
        async with harness.logs.open(mine) as log, harness.logs.open(other) as others:
            screen = await gateway.watch(mine)
            for number in range(3):
                await log.write_line(b"before %d" % number)
                await screen.sees(b"before %d" % number)
            await harness.nats.stream.delete_stream(STREAM)
            await others.write_line(b"of another build")
            await (await gateway.watch(other)).sees(b"of another build")
            await log.write_line(b"after")
            await screen.sees(b"after")
            late = await gateway.watch(mine)
            await late.sees(b"after")
            await harness.nats.stream.purge_stream(STREAM)
        await harness.ends.end(mine, OK)
        await screen.end()

    assert screen.lines == ["before 0", "before 1", "before 2", "after"]
    assert "of another build" not in late.lines
