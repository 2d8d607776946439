"""Watching real builds from the first line to the end, across crashes of gateways and builders."""

import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from swell_embedded.processes.child import Child
from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of, log_path
from tests.e2e.environment import gateway_beside
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams
from tests.e2e.watching import watching
from tests.unit.gateway.builds.eventsource import Event


def printing(upstreams: Upstreams, lines: int, pause: float) -> str:
    """Return a container file whose step prints numbered lines slowly; its text does not contain the lines."""
    step = f'for n in $(seq {lines}); do echo "line $((n + 1000))"; sleep {pause}; done'
    return f"FROM {upstreams.image()}\nRUN {step}\n"


def line_ids(events: Sequence[Event]) -> list[str]:
    """The ids of the log lines among *events*; those of steps are between them."""
    return [event.id for event in events if event.name == "message"]


async def test_a_build_is_watched_to_its_end_and_no_further(swell: Swell, upstreams: Upstreams) -> None:
    """Lines arrive while the build runs. The last event has the result, and a client that has it gets 204."""
    build_id = (await swell.build(printing(upstreams, 5, 1)))["buildId"]
    async with watching(swell, build_id) as watcher:
        await watcher.sees("line 1001")
        assert (await swell.build_status(build_id))["status"] == "PENDING"
        events = await watcher.end()

    assert events[-1].name == "end" and '"succeeded":true' in events[-1].data
    ids = line_ids(events[:-1])
    assert ids == [f"1-{number}" for number in range(1, len(ids) + 1)]
    assert "\n".join(watcher.lines) + "\n" == await swell.log(build_id)
    async with watching(swell, build_id) as again:
        assert await again.end() == events
    async with watching(swell, build_id, events[-1].id) as finished:
        assert (finished.status, await finished.end()) == (204, [])


async def test_the_end_event_has_the_reason_of_a_failure(swell: Swell, upstreams: Upstreams) -> None:
    """A watcher needs no second request to learn why a build failed."""
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN echo watched && exit 7\n"))["buildId"]
    async with watching(swell, build_id) as watcher:
        end = (await watcher.end())[-1]

    assert end.name == "end"
    assert '"succeeded":false,"exitStatus":7' in end.data
    assert '"reason":"recipe"' in end.data


@pytest.fixture(scope="module")
async def fragile(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with new_stack(tmp_path_factory.mktemp("watched"), JOB_LEASE="PT5S") as opened:
        yield opened


async def test_a_watcher_continues_at_another_gateway(fragile: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """Its gateway is killed while it sends an event. No line is missing or repeated."""
    url, program = gateway_beside(fragile, "other")
    other = await Child.start(program, tmp_path)
    try:
        await other.ready()
        async with client_of(fragile.url) as swell, client_of(url) as elsewhere:
            build_id = (await swell.build(printing(upstreams, 20, 0.4)))["buildId"]
            async with watching(swell, build_id) as first:
                await first.sees("line 1003")
                fragile.kill("gateway")
                before = await first.end()
            assert before[-1].name == "message"
            async with watching(elsewhere, build_id, first.last_id) as second:
                after = await second.end()
            whole = await elsewhere.log(build_id)
    finally:
        await other.stop()
        await fragile.restart("gateway")

    ids = line_ids([*before, *after[:-1]])
    assert ids == [f"1-{number}" for number in range(1, len(ids) + 1)]
    assert "\n".join([*first.lines, *second.lines]) + "\n" == whole
    assert after[-1].name == "end"


async def test_a_stopping_gateway_disconnects_its_watchers_at_once(fragile: Stack, upstreams: Upstreams) -> None:
    """It does not wait for the end of builds, which may take long."""
    async with client_of(fragile.url) as swell:
        build = await swell.build(f"FROM {upstreams.image()}\nRUN echo $((60 + 3)) && sleep 300\n")
        build_id = build["buildId"]
        async with watching(swell, build_id) as watcher:
            await watcher.sees("63")
            fragile.kill("gateway", signal.SIGTERM)
            events = await watcher.end()
        await fragile.restart("gateway")
        assert events[-1].name == "message"
        assert (await swell.build_status(build_id))["status"] == "PENDING"
        await swell.post(f"/v1alpha1/builds/{build_id}/cancel", requestId=build["requestId"])
        await swell.ended(build_id)


async def test_a_crash_of_the_builder_is_a_restart_event(fragile: Stack, upstreams: Upstreams) -> None:
    """The lines of the next attempt count from 1, and the stored log is that attempt's."""
    async with client_of(fragile.url) as swell:
        build_id = (await swell.build(printing(upstreams, 10, 0.5)))["buildId"]
        async with watching(swell, build_id) as watcher:
            await watcher.sees("line 1002")
            fragile.kill("builder")
            await fragile.restart("builder")
            events = await watcher.end()
        log = await swell.log(build_id)

    at = next(number for number, event in enumerate(events) if event.name == "restart")
    assert events[at].data == '{"attempt":2}'
    assert all(event.id.startswith("1-") for event in events[:at])
    ids = line_ids(events[at + 1 : -1])
    assert ids == [f"2-{number}" for number in range(1, len(ids) + 1)]
    assert events[-1].id == "2-end"
    assert "\n".join(event.data for event in events[at + 1 : -1] if event.name == "message") + "\n" == log
    assert log.count("line 1010") == 1


async def test_text_and_events_share_one_url(swell: Swell, upstreams: Upstreams) -> None:
    """A cache between server and client must keep the two responses apart."""
    build_id = (await swell.build(f"FROM {upstreams.image()}\nRUN echo one address\n"))["buildId"]
    await swell.ended(build_id)

    assert (await swell.bytes(log_path(build_id))).startswith((b"#1 ", b"STEP 1"))
