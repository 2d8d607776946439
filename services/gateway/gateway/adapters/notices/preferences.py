"""When users want e-mail, in Redis."""

from collections.abc import Iterable, Mapping

from redis.asyncio import Redis

from gateway.domain.notices import Preference, preference_of
from swell.store import keys
from swell.store.connections.redis import text, translated


class RedisPreferences:
    """A string for each user with a preference.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def of(self, users: Iterable[str]) -> Mapping[str, Preference]:
        """Return the preferences of *users* who have one."""
        names = sorted(set(users))
        with translated():
            values = await self._redis.mget([keys.email_preference(name) for name in names]) if names else []
        known = {name: preference_of(text(value)) for name, value in zip(names, values, strict=True) if value}
        return {name: preference for name, preference in known.items() if preference}

    async def put(self, user: str, preference: Preference | None) -> None:
        """Store *preference*, or delete it: then the server's setting counts."""
        with translated():
            if preference:
                await self._redis.set(keys.email_preference(user), preference.value)
            else:
                await self._redis.delete(keys.email_preference(user))
