"""A service's life: it says what is wrong with its settings, and it stops at a signal."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

SERVICE = """
import asyncio
from datetime import timedelta
from msgspec import Struct
from swell.errors import Unavailable
from swell.serve import run_service

class Settings(Struct, frozen=True):
    name: str
    does: str = "wait"
    log_level: str = "INFO"
    drain: timedelta = timedelta(0)

async def main(settings, drain):
    if settings.does == "give up":
        raise Unavailable("NATS does not answer")
    if settings.does == "fail twice":
        async with asyncio.TaskGroup() as tasks:
            for part in ("NATS", "Redis"):
                tasks.create_task(away(part))
    if settings.does == "break":
        raise KeyError("unforeseen")
    try:
        print("ready", flush=True)
        await asyncio.Event().wait()
    finally:
        if settings.does == "drain":
            print("draining", flush=True)
            await drain.until(lambda: False)
        if settings.does == "block":
            print("draining", flush=True)
            await asyncio.Event().wait()
        print("closed " + settings.name, flush=True)

async def away(part):
    raise Unavailable(part + " does not answer")

run_service("tester", Settings, main)
"""


@asynccontextmanager
async def service(**settings: str) -> AsyncIterator[Process]:
    """The service in a process of its own, with each of *settings* as SWELL_<NAME>; stopped after the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
    environment = inherited | {f"SWELL_{name.upper()}": value for name, value in settings.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVICE, env=environment, stdout=PIPE, stderr=PIPE
    )
    try:
        async with asyncio.timeout(60):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ended(process: Process) -> tuple[int | None, str, str]:
    """Exit status, stdout and stderr."""
    out, err = await process.communicate()
    return process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_service_closes_and_ends_well_at_a_signal(number: signal.Signals) -> None:
    """Exit 0, so that no supervisor takes it for a crash."""
    async with service(name="one") as process:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        status, out, err = await ended(process)

    assert (status, out) == (0, "closed one\n")
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["service stopped"]


async def test_a_second_signal_ends_the_drain() -> None:
    """An operator who does not want to wait presses Ctrl-C again; what runs is handed over, and all is closed."""
    async with service(name="one", does="drain", drain="PT1H") as process:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert await process.stdout.readline() == b"draining\n"
        process.send_signal(signal.SIGTERM)
        status, out, err = await ended(process)

    assert (status, out) == (0, "closed one\n")
    assert [json.loads(line)["event"] for line in err.splitlines()] == ["service stops", "service stopped"]


async def test_a_second_signal_ends_a_service_that_cannot_stop() -> None:
    """It is killed by the signal, some seconds later; a third signal kills it at once."""
    async with service(name="one", does="block", drain="PT1H") as process:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert await process.stdout.readline() == b"draining\n"
        process.send_signal(signal.SIGTERM)
        status, _, _ = await ended(process)

    assert status == -signal.SIGTERM


async def test_the_log_level_changes_at_run_time() -> None:
    """SIGUSR1 switches DEBUG on and off; the service goes on."""
    async with service(name="one", does="wait") as process:
        assert process.stdout
        assert process.stderr
        assert await process.stdout.readline() == b"ready\n"
        levels = []
        for _ in range(2):
            process.send_signal(signal.SIGUSR1)
            levels.append(json.loads(await process.stderr.readline())["to"])
        process.send_signal(signal.SIGTERM)
        status, _, _ = await ended(process)

    assert (status, levels) == (0, ["DEBUG", "INFO"])


async def test_settings_can_be_checked_without_a_start() -> None:
    """An operator sees what a service understands, and from where."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE, "--check-settings"),
        env=inherited | {"SWELL_NAME": "one", "SWELL_DRAIN": "PT7S"},
        stdout=PIPE,
        stderr=PIPE,
    )
    status, out, err = await ended(process)

    assert (status, err) == (0, "")
    assert 'SWELL_NAME="one" (environment)' in out
    assert 'SWELL_DRAIN="PT7S" (environment)' in out
    assert 'SWELL_LOG_LEVEL="INFO" (default)' in out


async def test_wrong_settings_stop_a_service_with_one_sentence() -> None:
    """Exit 2, before it has opened anything; no stack trace for an operator who mistyped."""
    async with service() as process:
        result = await ended(process)

    assert result == (2, "", "tester: SWELL_NAME must be set\n")


@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("give up", "NATS does not answer"),
        ("fail twice", "NATS does not answer; Redis does not answer"),
    ],
)
async def test_a_service_that_cannot_go_on_says_why(does: str, reason: str) -> None:
    """Exit 1 and one line: the supervisor starts it again, the operator reads the reason."""
    async with service(name="one", does=does) as process:
        status, _, err = await ended(process)

    (line,) = (json.loads(line) for line in err.splitlines())
    assert status == 1
    assert (line["event"], line["error"]) == ("service failed", reason)


async def test_a_bug_ends_a_service_with_its_stack_trace() -> None:
    """An operator reports the bug with it; exit status 1 makes the service manager restart it."""
    async with service(name="one", does="break") as process:
        status, _, err = await ended(process)

    assert status == 1
    assert "KeyError: 'unforeseen'" in err
