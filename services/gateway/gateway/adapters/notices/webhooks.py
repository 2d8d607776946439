"""Webhooks of users and organisations in Redis; their secrets are encrypted records."""

from collections.abc import Mapping

import msgspec
from redis.asyncio import Redis

from gateway.access.webhooks import OwnWebhook
from gateway.domain.notices import Webhook
from swell.store import keys
from swell.store.connections.redis import raw, text, translated
from swell.store.encrypted import EncryptedRecords

_PUT = """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class RedisWebhooks:
    """A hash of webhooks by name for each owner.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis, records: EncryptedRecords) -> None:
        self._redis = redis
        self._records = records
        self._put = redis.register_script(_PUT)

    async def put(self, owner: str, name: str, webhook: OwnWebhook, secret: str, limit: int) -> bool:
        """Store a webhook and its secret; False if *owner* has *limit* others."""
        with translated():
            is_stored = await self._put([keys.webhooks(owner)], [name, msgspec.json.encode(webhook), limit])
        if is_stored:
            await self._records.put(_secret(owner, name), secret.encode())
        return bool(is_stored)

    async def of(self, owner: str) -> Mapping[str, OwnWebhook]:
        with translated():
            stored = await self._redis.hgetall(keys.webhooks(owner))
        return {text(name): msgspec.json.decode(raw(content), type=OwnWebhook) for name, content in stored.items()}

    async def delete(self, owner: str, name: str) -> bool:
        with translated():
            existed = bool(await self._redis.hdel(keys.webhooks(owner), name))
        await self._records.delete(_secret(owner, name))
        return existed

    async def find(self, owner: str, name: str) -> Webhook | None:
        """Return a webhook with its secret.

        Raises:
            DecryptionFailed: the key of the secret is missing.
        """
        with translated():
            content = await self._redis.hget(keys.webhooks(owner), name)
        secret = await self._records.get(_secret(owner, name)) if content else None
        if content is None or secret is None:
            return None
        webhook = msgspec.json.decode(raw(content), type=OwnWebhook)
        return Webhook(name=name, url=webhook.url, secret=secret.decode(), events=webhook.events)


def _secret(owner: str, name: str) -> str:
    return f"webhook:{owner}:{name}"
