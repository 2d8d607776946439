"""The stand-ins are as strict as the clients that they stand in for: what breaks those breaks these."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.conformance.clients.between import DROPPED, NO_FAULT, Fault, between
from tests.conformance.clients.nf_wave import KEYS, NfWave, TaskFailed, body_of
from tests.conformance.clients.wave_cli import (
    Crash,
    Output,
    WaveCli,
    printed,
    read_answer,
    read_inspection,
    read_status,
)
from tests.conformance.clients.wire import Clock
from tests.e2e.client import Swell, encoded
from tests.e2e.upstreams import Upstreams

GOOD = {"targetImage": "x/wt/t/a:1", "requestId": "t", "succeeded": True}
DONE = {"id": "t", "status": "DONE", "succeeded": True, "creationTime": "2026-03-01T09:30:00Z"}


@pytest.mark.parametrize(
    "members",
    [
        {"expiration": 1772400000},
        {"expiration": "2026-03-02 21:30:00Z"},
        {"expiration": "2026-03-02T21:30:00"},
        {"succeeded": "true"},
        {"cached": "false"},
        {"buildId": {}},
        {"targetImage": ["a"]},
    ],
    ids=str,
)
def test_an_answer_of_another_type_breaks_the_command_line(members: dict[str, Any]) -> None:
    with pytest.raises(Crash):
        read_answer(json.dumps(GOOD | members))


def test_an_answer_may_have_numbers_for_texts_and_lack_members() -> None:
    assert read_answer('{"requestId": 12, "later": {}}') == {"requestId": "12"}


@pytest.mark.parametrize(
    ("duration", "read"), [("12.0", 12), ("123.914989", "123.914989"), ("12", "1.2e-8"), ("0.00001", "0.00001")]
)
def test_a_whole_number_is_nanoseconds(duration: str, read: Any) -> None:
    status = read_status(json.dumps(DONE)[:-1] + f', "duration": {duration}}}')

    assert status["duration"] == Decimal(read)


@pytest.mark.parametrize("members", ['"duration": 1e-05', '"duration": "PT12S"', '"status": "done"', '"status": "X"'])
def test_a_status_of_another_form_breaks_the_command_line(members: str) -> None:
    with pytest.raises(Crash):
        read_status(json.dumps(DONE)[:-1] + f", {members}}}")


def test_done_must_tell_how_it_ended() -> None:
    with pytest.raises(Crash):
        printed(GOOD, {"status": "DONE"}, Output.PLAIN)


def test_an_inspection_must_have_something() -> None:
    with pytest.raises(Crash):
        read_inspection("{}")


@pytest.mark.parametrize("status", [201, 202, 301, 401, 429, 500])
async def test_the_command_line_takes_200_alone_and_gives_up_at_once(swell: Swell, clock: Clock, status: int) -> None:
    async with between(swell.url) as proxy:
        proxy.faults = [Fault(status, {"Location": f"{proxy.url}/service-info"}, unseen=True)]
        cli = WaveCli(proxy.url, clock)
        ran = await cli.run({"containerImage": "a"})

    assert (ran.code, ran.stderr[:5], len(cli.wire.attempts)) == (1, f"[{status}]", 1)


@pytest.mark.parametrize("fault", [Fault(503, unseen=True), DROPPED], ids=["503", "dropped"])
async def test_the_command_line_asks_five_times(swell: Swell, fault: Fault) -> None:
    async with between(swell.url) as proxy:
        proxy.faults = [fault] * 9
        cli = WaveCli(proxy.url, Clock())
        ran = await cli.run({"containerImage": "a"})

    assert (ran.code, len(cli.wire.attempts)) == (1, 5)
    assert cli.wire.clock.slept == [0.15, 0.3, 0.6, 1.2]


@pytest.mark.row("T7")
async def test_a_status_that_is_refused_ends_the_waiting(swell: Swell, upstreams: Upstreams, clock: Clock) -> None:
    """A 404 right after the submit would break the user."""
    build = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV REFUSED=status\n")}
    async with between(swell.url) as proxy:
        cli = WaveCli(proxy.url, clock)
        proxy.faults = [NO_FAULT, Fault(404)]
        ran = await cli.run(build, wait=timedelta(minutes=15))

    assert (ran.code, ran.stderr[:5], len(cli.wire.attempts)) == (1, "[404]", 2)


async def test_nf_wave_refuses_statuses_that_it_cannot_read(swell: Swell, upstreams: Upstreams) -> None:
    """A status of 404 is not asked for again."""
    nf_wave = NfWave(swell.url, Clock())

    with pytest.raises(TaskFailed, match=r"\[404\]"):
        await nf_wave.is_ready("ffffffffffff")

    assert len(nf_wave.wire.attempts) == 1


def test_nf_wave_sends_all_its_keys() -> None:
    body = body_of({"containerImage": "a"})

    assert body.keys() == set(KEYS)
    assert len(KEYS) == 24
    assert set(body["containerConfig"].values()) == {None}
