"""The log that a builder writes: what is kept is what was streamed, bounded, and without the secrets that we know."""

import asyncio
import json
import re
import time
from base64 import b64encode
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from builder.adapters.logs.build_logs import END, LONGEST_NAME, STEPS, BuildLogs
from builder.adapters.logs.line_sender import _TIMEOUT
from builder.adapters.logs.masking import read_secrets
from builder.domain.secrets import MASK, Masker
from builder.settings import EngineSettings
from swell.api.builds import BuildStep
from swell.jobs.streams import Nats, connect
from swell.store.logs import (
    ATTEMPT,
    COMPLETE,
    FIRST_LINE,
    STREAM,
    decode_steps,
    log_key,
    log_subject,
    steps_key,
)
from swell_embedded.stack import open_backends
from swell_sandbox.lines import Lines
from tests.integration.watching.harness import LIMIT, Harness
from tests.unit.gateway.doubles import NOON

BUILD = "bd-c44968632f89dd6c_1"
PASSWORD = b"correct horse battery staple"


async def streamed(nats: Nats, build_id: str = BUILD) -> list[tuple[int, int, bytes]]:
    """The attempt, the first line's number and the lines of each message; 0 and nothing where the log is complete."""
    source = await nats.stream.subscribe(log_subject(build_id), ordered_consumer=True)
    received: list[tuple[int, int, bytes]] = []
    while (await nats.stream.stream_info(STREAM)).state.messages > len(received):
        message = await source.next_msg(timeout=30)
        headers = message.headers or {}
        assert (COMPLETE in headers) == (not message.data)
        received.append((int(headers[ATTEMPT]), int(headers.get(FIRST_LINE, 0)), message.data))
    await source.unsubscribe()
    return received


async def kept(harness: Harness, build_id: str = BUILD) -> bytes:
    return await harness.objects.get(log_key(build_id)) or b""


async def test_what_is_kept_is_what_was_streamed_line_by_line(harness: Harness) -> None:
    """Each message has the number of its first line, so that readers know their position."""
    async with harness.logs.open(BUILD) as log:
        for number in range(1, 2001):
            await log.write_line(b"line %d" % number)

    *messages, last = await streamed(harness.nats)

    assert last == (1, 0, b"")
    assert b"".join(lines for *_, lines in messages) == await kept(harness)
    number = 1
    for attempt, first, lines in messages:
        assert (attempt, first) == (1, number)
        number += lines.count(b"\n")
    assert number == 2001


async def test_steps_are_stored_with_the_log(harness: Harness) -> None:
    """Without the secrets that are masked in lines, and only as those of their attempt."""
    logs = BuildLogs(harness.nats.stream, harness.objects, harness.folder, lambda _: Masker({PASSWORD}))
    async with logs.open(BUILD, 2) as log:
        await log.write_line(b"one")
        for _ in range(2):
            name = f"{'x' * (LONGEST_NAME - 10)} {PASSWORD.decode()}"
            await log.write_step(BuildStep(number=1, name=name, started=NOON, error=PASSWORD.decode()))

    content = await harness.objects.get(steps_key(BUILD)) or b""
    assert PASSWORD[:8] not in content
    assert decode_steps(content, 1) == ()
    steps = decode_steps(content, 2)
    assert [(each.line, each.order, each.step.error) for each in steps] == [
        (1, 1, MASK.decode()),
        (1, 2, MASK.decode()),
    ]
    assert len(steps[0].step.name) < LONGEST_NAME


async def test_steps_are_bounded_and_their_end_is_logged(harness: Harness) -> None:
    """A build with a million steps must not fill the store, nor the memory of the builder."""
    async with harness.logs.open(BUILD) as log:
        for number in range(STEPS // 1000 + 500):
            await log.write_step(BuildStep(number=number, name="x" * LONGEST_NAME, started=NOON))

    stored = await harness.objects.get(steps_key(BUILD)) or b""
    assert STEPS * 0.9 < len(stored) < STEPS * 1.1
    assert (await kept(harness)).count(b"\n") == 1


async def test_an_attempt_that_died_keeps_its_lines_in_the_stream_alone(harness: Harness) -> None:
    """What is kept is the log of the one that came to an end; its lines count from one."""
    await harness.die(BUILD, 1, 3, seen=lambda: until_streamed(harness.nats))
    async with harness.logs.open(BUILD, 2) as log:
        await log.write_line(b"second")

    messages = await streamed(harness.nats)
    assert b"".join(lines for attempt, _, lines in messages if attempt == 1) == b"in vain\n" * 3
    assert messages[-2:] == [(2, 1, b"second\n"), (2, 0, b"")]
    assert await kept(harness) == b"second\n"


async def test_a_long_log_keeps_its_beginning_and_its_end(harness: Harness) -> None:
    """What went wrong stands at the end. The log says what is missing, and watchers see the same."""
    line = b"x" * 99
    async with harness.logs.open(BUILD) as log:
        for _ in range(5 * LIMIT // 100):
            await log.write_line(line)
        await log.write_line(b"the reason")

    whole = await kept(harness)
    lines = whole.splitlines()
    (left_out,) = [each for each in lines if b"left out here" in each]
    count, size = (int(each) for each in re.findall(rb"\d+", left_out))
    assert lines[-1] == b"the reason"
    assert b"longer than the %d bytes that are stored" % LIMIT in whole
    assert count + len(lines) - 2 == 5 * LIMIT // 100 + 1
    assert size + len(whole) - 2 * 90 == pytest.approx(5 * LIMIT, rel=0.01)
    assert len(whole) < LIMIT + END + 1000
    assert b"".join(each for *_, each in await streamed(harness.nats)) == whole


async def test_a_line_of_ten_megabytes_is_kept_as_far_as_a_log_may_be(harness: Harness) -> None:
    """One line cannot use up the memory of the builder."""
    lines = Lines()
    async with harness.logs.open(BUILD) as log:
        for line in [*lines.feed(b"y" * (10 << 20)), *lines.feed(b"\nafter\n")]:
            await log.write_line(line)

    whole = await kept(harness)
    assert len(whole) < LIMIT + END + 1000
    assert whole.endswith(b"\nafter\n")
    assert b"left out here" in whole


@pytest.mark.parametrize("before", [0, (16 << 10) - 10, (16 << 10) - 1, 16 << 10])
async def test_a_secret_is_neither_streamed_nor_kept_wherever_it_is_cut(
    nats: Nats, tmp_path: Path, before: int
) -> None:
    """Long lines come in pieces."""
    harness = Harness(nats, tmp_path, lambda _: Masker([PASSWORD]))
    lines = Lines()
    async with harness.logs.open(BUILD) as log:
        for line in lines.feed(b"z" * before + PASSWORD + b"!\n" + b64encode(b"{}" + PASSWORD) + b"\nend\n"):
            await log.write_line(line)

    for whole in (await kept(harness), b"".join(each for *_, each in await streamed(nats))):
        joined = whole.replace(b"\n", b"")
        assert PASSWORD not in joined
        assert joined.startswith(b"z" * before + MASK + b"!")
        assert joined.endswith(b"end")
        assert b64encode(PASSWORD)[4:-4] not in joined


async def test_a_line_that_may_go_on_is_shown_after_a_moment(harness: Harness) -> None:
    """A step that prints an address and then works for an hour is not silent."""
    build_id, address = await harness.submit(), b"https://packages.example.org/" + b"a" * 60
    async with harness.gateway() as gateway, harness.logs.open(build_id) as log:
        screen = await gateway.watch(build_id)
        await log.write_line(address)
        await screen.sees(address)
        await screen.leave()

    assert await kept(harness, build_id) == address + b"\n"


async def test_the_secrets_are_those_of_the_auth_files_as_they_are_now(tmp_path: Path) -> None:
    """The operator changes a password; the next build knows."""
    path = tmp_path / "auth.json"
    settings = EngineSettings(workspace=tmp_path, push_auth_file=path)
    assert read_secrets(settings).mask(b"s3cret") == b"s3cret"
    path.write_text(json.dumps({"auths": {"quay.io": {"auth": b64encode(b"ada:s3cret").decode()}}}))

    assert read_secrets(settings).mask(b"it is s3cret") == b"it is " + MASK


async def test_secrets_in_settings_are_masked_too(tmp_path: Path) -> None:
    """A proxy's password, which steps may receive, and AWS's key; both as written and as decoded."""
    settings = EngineSettings(
        workspace=tmp_path, https_proxy="http://ada:p%40ssword@proxy:3128", aws_secret_access_key="wJalrXUtnFEMI"
    )
    mask = read_secrets(settings).mask

    for secret in (b"p%40ssword", b"p@ssword", b64encode(b"ada:p@ssword"), b"wJalrXUtnFEMI"):
        assert secret not in mask(b"+ " + secret + b" +")
    assert mask(b"http_proxy=http://proxy:3128") == b"http_proxy=http://proxy:3128"


async def test_a_queue_that_is_away_costs_the_build_no_time_and_the_log_no_line(tmp_path: Path) -> None:
    """Clients lose the lines that do not fit into memory; the numbers show which ones."""
    async with AsyncExitStack() as opened:
        stack = await opened.enter_async_context(open_backends(tmp_path / "home", ("nats",), environment={}))
        nats = await opened.enter_async_context(connect(stack.env["SWELL_NATS_URL"], "test"))
        harness = Harness(nats, tmp_path / "logs")
        async with harness.logs.open(BUILD) as log:
            await log.write_line(b"before")
            await until_streamed(nats)
            stack.kill("nats")
            started = time.monotonic()
            for _ in range(LIMIT // 50_000):
                await log.write_line(b"- " * 25_000)
            assert time.monotonic() - started < 5 * _TIMEOUT  # and not once for each of twenty
            await stack.restart("nats")
            await log.write_line(b"after")

        whole = await kept(harness)
        assert whole.count(b"- \n") == LIMIT // 50_000
        assert whole.endswith(b"\nafter\n")
        for _, first, lines in await streamed(nats):
            assert whole.split(b"\n")[first - 1 :][: lines.count(b"\n")] == lines.split(b"\n")[:-1]


async def until_streamed(nats: Nats) -> None:
    async with asyncio.timeout(30):
        while not (await nats.stream.stream_info(STREAM)).state.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
