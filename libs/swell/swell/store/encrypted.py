"""Secrets in Redis: strings `swell:encrypted:<name>`, encrypted with `swell.encryption` and bound to their names."""

from collections.abc import AsyncIterator
from datetime import timedelta

from msgspec import Struct
from redis.asyncio import Redis

from swell.encryption import EncryptionKeys
from swell.errors import DecryptionFailed
from swell.store.connections.redis import raw, text, translated
from swell.store.keys import ENCRYPTED, encrypted

_BATCH = 100

_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""


class Reencrypted(Struct, frozen=True):
    """Numbers of records: encrypted again, with the current key already, changed meanwhile, and unreadable."""

    again: int = 0
    current: int = 0
    changed: int = 0
    unreadable: int = 0


class EncryptedRecords:
    """Encrypted values by name, such as `pairing:<id>`. A name contains no secret; it is stored in the clear.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, keys: EncryptionKeys) -> None:
        self._redis = redis
        self._keys = keys
        self._replace = redis.register_script(_REPLACE)

    async def put(self, name: str, value: bytes, lifetime: timedelta | None = None) -> None:
        """Store *value*, at most 1 MiB, until it is replaced or deleted, or its *lifetime* ends."""
        ciphertext = self._keys.encrypt(value, name)
        with translated():
            await self._redis.set(encrypted(name), ciphertext, px=lifetime)

    async def get(self, name: str) -> bytes | None:
        """Return the value of *name*.

        Raises:
            DecryptionFailed: the stored value was changed, or its key is missing.
        """
        with translated():
            ciphertext = await self._redis.get(encrypted(name))
        return None if ciphertext is None else self._keys.decrypt(raw(ciphertext), name)

    async def delete(self, *names: str) -> int:
        """Delete *names*; returns how many existed."""
        with translated():
            return int(await self._redis.delete(*map(encrypted, names))) if names else 0

    async def reencrypt(self) -> Reencrypted:
        """Encrypt every record with the current key; repeating it does no harm.

        A value that is written meanwhile is not replaced: services encrypt it with their current key.
        """
        again = current = changed = unreadable = 0
        async for key, ciphertext in self._all():
            try:
                if self._keys.is_current(ciphertext):
                    current += 1
                    continue
                name = key.removeprefix(ENCRYPTED)
                new = self._keys.encrypt(self._keys.decrypt(ciphertext, name), name)
            except DecryptionFailed:
                unreadable += 1
                continue
            with translated():
                if await self._replace([key], [ciphertext, new]):
                    again += 1
                else:
                    changed += 1
        return Reencrypted(again, current, changed, unreadable)

    async def _all(self) -> AsyncIterator[tuple[str, bytes]]:
        """Every record, some of them perhaps twice; records that are added meanwhile may be missing."""
        cursor = 0
        while True:
            with translated():
                cursor, keys = await self._redis.scan(cursor, match=f"{ENCRYPTED}*", count=_BATCH)
                values = await self._redis.mget(keys) if keys else []
            for key, value in zip(keys, values, strict=True):
                if value is not None:
                    yield text(key), raw(value)
            if not cursor:
                return
