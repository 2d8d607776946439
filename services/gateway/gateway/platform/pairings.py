"""Pairings: the key pair that this server and a Platform share, for a day.

The private key is encrypted at rest. A pairing that has ended still decrypts, until the Platform pairs again: its next
heartbeat closes the socket, and it opens another one.
"""

import asyncio
import base64
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from msgspec import Struct

from gateway.domain.platform import Platform
from gateway.platform.sessions import Lock, Records
from swell.errors import EndpointUnpaired, Unavailable

PACKET_VERSIONS = (1, 2)
"""The forms of encrypted packets; see `gateway.platform.packets`."""
LEASE = timedelta(days=1)
STORED = timedelta(days=30)


class Pairing(Struct, frozen=True, kw_only=True):
    """`packets` is the version of the packets that the Platform sends; keys are DER."""

    id: str
    private_key: bytes
    public_key: bytes
    expires: datetime
    packets: int = 1

    def __repr__(self) -> str:
        return f"Pairing({self.id!r}, ...)"

    @property
    def encoded_public_key(self) -> str:
        return base64.b64encode(self.public_key).decode()


class Pairings:
    def __init__(
        self,
        records: Records,
        lock: Lock,
        lease: timedelta = LEASE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._records = records
        self._lock = lock
        self._lease = lease
        self._now = now

    async def get(self, platform: Platform) -> Pairing | None:
        """Return the last pairing of *platform*, which may have ended; None if there was none for 30 days."""
        value = await self._records.get(_name(platform))
        return msgspec.msgpack.decode(value, type=Pairing) if value else None

    async def require(self, platform: Platform) -> Pairing:
        """As `get`.

        Raises:
            EndpointUnpaired: *platform* is not paired.
        """
        if (pairing := await self.get(platform)) is None:
            raise EndpointUnpaired(f"Platform endpoint {platform.endpoint} is not paired with this server")
        return pairing

    async def is_current(self, platform: Platform, pairing_id: str) -> bool:
        """Return whether *pairing_id* is the pairing of *platform*, and has not ended."""
        pairing = await self.get(platform)
        return pairing is not None and pairing.id == pairing_id and pairing.expires > self._now()

    async def open(self, platform: Platform, packets: int) -> Pairing:
        """Return the current pairing of *platform*, or a new one if it has ended or was made for other packets.

        Raises:
            Unavailable: another gateway is making one, which takes too long.
        """
        lock = await self._lock(_name(platform))
        if lock is None:
            raise Unavailable("the pairing is being renewed by another gateway")
        async with lock:
            pairing = await self.get(platform)
            if pairing and pairing.expires > self._now() and pairing.packets == packets:
                return pairing
            from gateway.platform.packets import new_key_pair  # noqa: PLC0415  it is large

            private, public = await asyncio.to_thread(new_key_pair)
            pairing = Pairing(
                id=str(secrets.randbelow(2**63 - 1) + 1),
                private_key=private,
                public_key=public,
                expires=self._now() + self._lease,
                packets=packets,
            )
            await self._records.put(_name(platform), msgspec.msgpack.encode(pairing), STORED)
            return pairing


def _name(platform: Platform) -> str:
    return f"pairing:{platform.id}"
