"""The stand-ins are as strict as the real clients: what breaks the clients breaks the stand-ins."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.conformance.clients.faulty_proxy import DROPPED, NO_FAULT, Fault, faulty_proxy
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
def test_a_member_of_a_wrong_type_breaks_the_command_line(members: dict[str, Any]) -> None:
    """The real client ends with a stack trace."""
    with pytest.raises(Crash):
        read_answer(json.dumps(GOOD | members))


def test_the_command_line_accepts_numbers_as_text_and_missing_members() -> None:
    """The real client's JSON reader converts them."""
    assert read_answer('{"requestId": 12, "later": {}}') == {"requestId": "12"}


@pytest.mark.parametrize(
    ("duration", "read"), [("12.0", 12), ("123.914989", "123.914989"), ("12", "1.2e-8"), ("0.00001", "0.00001")]
)
def test_a_duration_without_a_decimal_point_is_nanoseconds(duration: str, read: Any) -> None:
    """So the server must always send a decimal point."""
    status = read_status(json.dumps(DONE)[:-1] + f', "duration": {duration}}}')

    assert status["duration"] == Decimal(read)


@pytest.mark.parametrize("members", ['"duration": 1e-05', '"duration": "PT12S"', '"status": "done"', '"status": "X"'])
def test_a_status_with_wrong_values_breaks_the_command_line(members: str) -> None:
    """The real client accepts only these names and number formats."""
    with pytest.raises(Crash):
        read_status(json.dumps(DONE)[:-1] + f", {members}}}")


def test_done_needs_succeeded() -> None:
    """The real client cannot print a result without it."""
    with pytest.raises(Crash):
        printed(GOOD, {"status": "DONE"}, Output.PLAIN)


def test_an_empty_inspection_breaks_the_command_line() -> None:
    """The response needs a container or an index."""
    with pytest.raises(Crash):
        read_inspection("{}")


@pytest.mark.parametrize("status", [201, 202, 301, 401, 429, 500])
async def test_the_command_line_accepts_only_200_and_does_not_retry(swell: Swell, clock: Clock, status: int) -> None:
    """Other statuses end the program."""
    async with faulty_proxy(swell.url) as proxy:
        proxy.faults = [Fault(status, {"Location": f"{proxy.url}/service-info"}, unseen=True)]
        cli = WaveCli(proxy.url, clock)
        ran = await cli.run({"containerImage": "a"})

    assert (ran.code, ran.stderr[:5], len(cli.wire.attempts)) == (1, f"[{status}]", 1)


@pytest.mark.parametrize("fault", [Fault(503, unseen=True), DROPPED], ids=["503", "dropped"])
async def test_the_command_line_tries_five_times(swell: Swell, fault: Fault) -> None:
    """The waits double after each attempt."""
    async with faulty_proxy(swell.url) as proxy:
        proxy.faults = [fault] * 9
        cli = WaveCli(proxy.url, Clock())
        ran = await cli.run({"containerImage": "a"})

    assert (ran.code, len(cli.wire.attempts)) == (1, 5)
    assert cli.wire.clock.slept == [0.15, 0.3, 0.6, 1.2]


@pytest.mark.row("T7")
async def test_a_refused_status_request_ends_the_wait(swell: Swell, upstreams: Upstreams, clock: Clock) -> None:
    """A 404 directly after the submission would break the client."""
    build = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV REFUSED=status\n")}
    async with faulty_proxy(swell.url) as proxy:
        cli = WaveCli(proxy.url, clock)
        proxy.faults = [NO_FAULT, Fault(404)]
        ran = await cli.run(build, wait=timedelta(minutes=15))

    assert (ran.code, ran.stderr[:5], len(cli.wire.attempts)) == (1, "[404]", 2)


async def test_nf_wave_refuses_statuses_that_it_cannot_read(swell: Swell, upstreams: Upstreams) -> None:
    """A status request with 404 is not repeated."""
    nf_wave = NfWave(swell.url, Clock())

    with pytest.raises(TaskFailed, match=r"\[404\]"):
        await nf_wave.is_ready("ffffffffffff")

    assert len(nf_wave.wire.attempts) == 1


def test_nf_wave_sends_all_its_keys() -> None:
    """The stand-in must send nulls as the real client does."""
    body = body_of({"containerImage": "a"})

    assert body.keys() == set(KEYS)
    assert len(KEYS) == 24
    assert set(body["containerConfig"].values()) == {None}
