"""The hash of the last batch of the audit trail, in Redis: batches that are removed from the end are missed there."""

from datetime import timedelta

from redis.asyncio import Redis

from swell.store import keys
from swell.store.connections.redis import text, translated


class AuditHead:
    """Stored for as long as the batch itself.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def put(self, batch_hash: str, age: timedelta) -> None:
        with translated():
            await self._redis.set(keys.AUDIT_HEAD, batch_hash, ex=age)

    async def get(self) -> str | None:
        """The hash of a batch that was the last one when it was sealed; None if Redis has lost it."""
        with translated():
            stored = await self._redis.get(keys.AUDIT_HEAD)
        return text(stored) if stored is not None else None
