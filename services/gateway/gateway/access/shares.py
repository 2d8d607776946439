"""Shares: how much of what all clients wait for one client can take.

Registries of a client may answer slowly, and its packages may be hard to solve. Without a limit, such requests of one
client could take all connections of the registry-proxy, or all places of the solver.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.domain.access.identity import Caller
from gateway.domain.quota import Client
from swell.errors import Unavailable

MOST_WAITING = 4096
"""Requests of one client, as many as the connections of one address."""
MOST_SECONDS = 60.0


class Shares:
    """Each client has at most *share* requests of one kind at a time at this gateway; others wait in their order."""

    def __init__(self, share: int, most_waiting: int = MOST_WAITING) -> None:
        self._share = share
        self._most_waiting = most_waiting
        self._running: Counter[Client] = Counter()
        self._waiting: dict[Client, deque[asyncio.Future[None]]] = {}

    def take_at_once(self, client: Client) -> bool:
        """Begin a request of *client*, if it does not have to wait."""
        if self._running[client] >= self._share:
            return False
        self._running[client] += 1
        return True

    async def take(self, client: Client) -> None:
        """Begin a request of *client* when another one has ended.

        Raises:
            Unavailable: too many are waiting, or none has ended within 60 s.
        """
        if self.take_at_once(client):
            return
        waiting = self._waiting.setdefault(client, deque())
        if len(waiting) >= self._most_waiting:
            raise Unavailable("too many of your requests are waiting", retry_after=5)
        granted = asyncio.get_running_loop().create_future()
        waiting.append(granted)
        try:
            async with asyncio.timeout(MOST_SECONDS):
                await granted
        except BaseException as error:
            if granted.cancelled():
                self._forget(client, granted)
            else:
                self.give_back(client)
            if isinstance(error, TimeoutError):
                raise Unavailable("your other requests take too long", retry_after=5) from error
            raise

    def give_back(self, client: Client) -> None:
        """End a request of *client*; the next one that waits begins."""
        for granted in self._waiting.get(client, ()):
            if not granted.done():
                granted.set_result(None)
                self._forget(client, granted)
                return
        self._running[client] -= 1
        if not self._running[client]:
            del self._running[client]

    @asynccontextmanager
    async def taken(self, caller: Caller) -> AsyncIterator[None]:
        """A request of *caller*, which waits before the block if it has to."""
        client = client_of(caller)
        await self.take(client)
        try:
            yield
        finally:
            self.give_back(client)

    def _forget(self, client: Client, granted: "asyncio.Future[None]") -> None:
        waiting = self._waiting[client]
        waiting.remove(granted)
        if not waiting:
            del self._waiting[client]


def client_of(caller: Caller) -> Client:
    """The client whose share a request of *caller* uses: the user, or the address of an anonymous one."""
    user = caller.identity.user
    return Client(user, "" if user else caller.address)
