"""Which stored credentials the secrets of builds are, in Redis; their content is in the vaults."""

from datetime import timedelta

import msgspec
from redis.asyncio import Redis

from gateway.access.vault_secrets import SecretReference
from swell.store import keys
from swell.store.connections.redis import raw, translated


class RedisSecretReferences:
    """A string for each reference, which lives for *life* after the last request with it."""

    def __init__(self, redis: Redis, life: timedelta) -> None:
        self._redis = redis
        self._life = life

    async def put(self, reference: SecretReference) -> None:
        with translated():
            await self._redis.set(keys.build_secret(reference.name), msgspec.json.encode(reference), ex=self._life)

    async def get(self, name: str) -> SecretReference | None:
        with translated():
            content = await self._redis.get(keys.build_secret(name))
        return msgspec.json.decode(raw(content), type=SecretReference) if content else None
