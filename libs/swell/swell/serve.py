"""Run a service: read its settings, run it until SIGTERM or SIGINT, close its connections in reverse order."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

import msgspec
import uvloop

from swell import codecs, log, settings
from swell.errors import SwellError

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


def run(
    service: str,
    kind: type[T],
    main: Callable[[T], Coroutine[Any, Any, None]],
    *,
    in_loop: Callable[[Coroutine[Any, Any, None]], None] = uvloop.run,
) -> None:
    """Run *main* with settings from the environment; exit with 2 when they are invalid, with 1 after a `SwellError`.

    uvloop is faster for connections; the loop of asyncio is faster for starting processes, which it does without
    copying page tables.
    """
    try:
        configured = settings.read(kind)
    except settings.SettingsInvalid as error:
        print(f"{service}: {error}", file=sys.stderr)  # noqa: T201  before there is a log
        sys.exit(2)
    log.configure(service, getattr(configured, "log_level", "INFO"))
    codecs.prepare()
    try:
        in_loop(_until_stopped(main(configured)))
    except* SwellError as group:
        log.log.error("service failed", error="; ".join(map(str, group.exceptions)))
        sys.exit(1)


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Await *work*; cancel it at the first SIGTERM or SIGINT, so that it drains and closes its connections."""
    task = asyncio.current_task()
    assert task is not None  # noqa: S101  (a coroutine runs in a task)
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await work
    except asyncio.CancelledError:
        if not stopped:
            raise
        task.uncancel()
    log.log.info("service stopped")
