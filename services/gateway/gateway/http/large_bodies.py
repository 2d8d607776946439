"""The memory for large request bodies: a request waits for its room before its body is read."""

import asyncio
from collections import Counter
from typing import Any

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from gateway.http.caller import Callers
from swell.errors import Unavailable

SMALL = 256 << 10  # bytes; smaller bodies need no room
ROOM = 128 << 20  # bytes of all larger bodies at once, by their size; handling one takes about four times its size
WAIT = 120.0  # seconds that a request waits for its room
_STATE = "body_room"


class BodyRoom:
    """Memory of *size* bytes for bodies; one client address gets at most half of it.

    Requests get it in their order. Those of an address that has its share do not delay other addresses.
    """

    def __init__(self, size: int = ROOM, wait: float = WAIT) -> None:
        self._free = size
        self._share = size // 2
        self._wait = wait
        self._used: Counter[str] = Counter()
        self._waiting: list[tuple[Reservation, int, asyncio.Future[None]]] = []

    async def take(self, reservation: "Reservation", size: int) -> None:
        """Add *size* bytes to *reservation*, when they are free.

        Raises:
            Unavailable: they are not within the time to wait.
        """
        granted = asyncio.get_running_loop().create_future()
        waiting = (reservation, size, granted)
        self._waiting.append(waiting)
        self._grant()
        try:
            async with asyncio.timeout(self._wait):
                await granted
        except TimeoutError as error:
            raise Unavailable("too many large requests are being read; try again", retry_after=10) from error
        finally:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._grant()

    def give_back(self, reservation: "Reservation") -> None:
        self._free += reservation.size
        self._used[reservation.address] -= reservation.size
        if not self._used[reservation.address]:
            del self._used[reservation.address]
        reservation.size = 0
        self._grant()

    def _grant(self) -> None:
        for waiting in list(self._waiting):
            reservation, size, granted = waiting
            if self._used[reservation.address] + size > self._share or granted.done():
                continue
            if size > self._free:
                return  # the next ones wait as well, so that small bodies do not delay a large one for ever
            self._waiting.remove(waiting)
            self._free -= size
            self._used[reservation.address] += size
            reservation.size += size
            granted.set_result(None)


class Reservation:
    """The room of one request, whose client has *address*; `size` is in bytes."""

    def __init__(self, room: BodyRoom, address: str) -> None:
        self._room = room
        self.address = address
        self.size = 0

    async def take(self, size: int) -> None:
        """Wait for *size* bytes; raises `Unavailable`."""
        await self._room.take(self, size)

    def give_back(self) -> None:
        if self.size:
            self._room.give_back(self)


class LargeBodies:
    """Wraps an application: each request with a body has a `Reservation` until it is answered.

    It is longer than the body is read, because the layers in a request are in memory until they are stored.
    """

    def __init__(self, app: ASGIApp, callers: Callers, room: BodyRoom | None = None) -> None:
        self._app = app
        self._address = callers.address
        self._room = room or BodyRoom()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        reservation = Reservation(self._room, self._address(scope))
        reserve(scope, reservation)
        try:
            await self._app(scope, receive, send)
        finally:
            reservation.give_back()


def reserve(scope: Any, reservation: Reservation) -> None:
    """Set the reservation of the request with *scope*."""
    scope.setdefault("state", {})[_STATE] = reservation


def reservation_of(scope: Any) -> Reservation:
    """The reservation of the request with *scope*."""
    reservation = scope["state"][_STATE]
    assert isinstance(reservation, Reservation)  # noqa: S101 - set above
    return reservation
