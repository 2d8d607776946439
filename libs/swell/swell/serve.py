"""Run a service: read its settings, run it until SIGTERM or SIGINT, close its connections in reverse order."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import msgspec
import uvloop

from swell import codecs, log, settings, settings_report
from swell.concurrency.drain import Drain
from swell.errors import SwellError
from swell.memory import return_freed

CHECK = "--check-settings"
LAST_SECONDS = 3.0
"""How long a service may interrupt its work after a second signal."""

T = TypeVar("T", bound=msgspec.Struct)


class Address(NamedTuple):
    """A host and a port to listen on or to connect to."""

    host: str
    port: int


def address(text: str) -> Address:
    """Parse `host:port`; an IPv6 host is in brackets.

    Raises:
        SettingsInvalid: *text* has another form.
    """
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and int(port) < 65536):
        raise settings.SettingsInvalid(f"{text!r} is not host:port")
    return Address(host.strip("[]"), int(port))


def run(program: str, kind: type[T], main: Callable[[T], Coroutine[Any, Any, None]]) -> None:
    """Run a program without a drain; see `run_service`."""
    run_service(program, kind, lambda configured, _: main(configured))


def run_service(
    service: str,
    kind: type[T],
    main: Callable[[T, Drain], Coroutine[Any, Any, None]],
    *,
    in_loop: Callable[[Coroutine[Any, Any, None]], None] = uvloop.run,
) -> None:
    """Run *main* with settings from the environment; exit with 2 when they are invalid, with 1 after a `SwellError`.

    With `--check-settings`, the settings are only read and printed.

    The second argument of *main* is the drain of the process, at most `settings.drain` long.

    uvloop is faster for connections; the loop of asyncio is faster for starting processes, which it does without
    copying page tables.
    """
    try:
        configured = settings.read(kind)
    except settings.SettingsInvalid as error:
        print(f"{service}: {error}", file=sys.stderr)  # noqa: T201  before there is a log
        sys.exit(2)
    if CHECK in sys.argv[1:]:
        print("\n".join(settings_report.lines(configured)))  # noqa: T201  what the operator asks for
        return
    log.configure(service, getattr(configured, "log_level", "INFO"), getattr(configured, "log_format", log.Format.JSON))
    codecs.prepare()
    return_freed()
    drain = Drain(getattr(configured, "drain", timedelta(0)))
    has_failed = False
    try:
        in_loop(_until_stopped(main(configured, drain), drain))
    except* SwellError as group:
        log.log.error("service failed", error="; ".join(map(str, group.exceptions)))
        has_failed = True
    if has_failed:  # inside of `except*`, Python 3.11.2 prints a stack trace of the group with SystemExit
        sys.exit(1)


async def _until_stopped(work: Coroutine[Any, Any, None], drain: Drain) -> None:
    """Await *work*. The first SIGTERM or SIGINT starts *drain* and cancels it, so that it closes its connections.

    The second one ends the drain at once; should the process still run after `LAST_SECONDS`, the signal kills it.
    """
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a coroutine runs in a task)
    loop = asyncio.get_running_loop()

    def stop(number: signal.Signals) -> None:
        if not drain.is_started:
            drain.start()
            if drain.limit:
                log.log.info("service stops", drain=drain.limit)
            task.cancel()
            return
        drain.end()
        loop.remove_signal_handler(number)  # the next one kills the process
        loop.call_later(LAST_SECONDS, os.kill, os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number)
    loop.add_signal_handler(signal.SIGUSR1, log.toggle_debug)
    try:
        await work
    except asyncio.CancelledError:
        if not drain.is_started:
            raise
        task.uncancel()
    log.log.info("service stopped")
