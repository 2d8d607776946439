"""How a service lives: read what it is told, open what it needs, work until SIGTERM or SIGINT, close in reverse."""

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
    """Where to listen or to call."""

    host: str
    port: int


def address(text: str) -> Address:
    """Read `host:port`; an IPv6 host stands in brackets.

    Raises:
        SettingsInvalid: it is something else.
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
    """Run *main* with its settings read from the environment; exits 2 when they are wrong, 1 when it cannot go on.

    uvloop is the faster loop for connections, asyncio's own for starting processes: it does not copy our page tables.
    """
    try:
        told = settings.read(kind)
    except settings.SettingsInvalid as error:
        print(f"{service}: {error}", file=sys.stderr)  # noqa: T201  before there is a log
        sys.exit(2)
    log.configure(service, getattr(told, "log_level", "INFO"))
    codecs.prepare()
    try:
        in_loop(_until_stopped(main(told)))
    except* SwellError as group:
        log.log.error("service cannot go on", error="; ".join(map(str, group.exceptions)))
        sys.exit(1)


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Await *work*, cancelling it at the first SIGTERM or SIGINT: it then drains and closes what it opened."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    stopped = False

    def stop() -> None:
        nonlocal stopped
        stopped = True
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not stopped:
            raise
    log.log.info("service stopped")
