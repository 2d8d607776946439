"""Sessions of browsers in Redis, by the hash of their secret: a copy of Redis opens none of them."""

import hashlib

import msgspec
from redis.asyncio import Redis

from gateway.domain.access.session import MOST_SESSIONS, Session
from swell.store import keys
from swell.store.connections.redis import text, translated

_ADD = """
redis.call('SET', KEYS[1], ARGV[1], 'EXAT', ARGV[2])
redis.call('ZADD', KEYS[2], ARGV[3], ARGV[4])
local spare = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[5])
if spare > 0 then
    for _, id in ipairs(redis.call('ZRANGE', KEYS[2], 0, spare - 1)) do
        redis.call('DEL', ARGV[6] .. id)
    end
    redis.call('ZREMRANGEBYRANK', KEYS[2], 0, spare - 1)
end
redis.call('EXPIREAT', KEYS[2], ARGV[2])
"""
_END_ALL = """
local ids = redis.call('ZRANGE', KEYS[1], 0, -1)
local ended = 0
for _, id in ipairs(ids) do ended = ended + redis.call('DEL', ARGV[1] .. id) end
redis.call('DEL', KEYS[1])
return ended
"""


class RedisSessions:
    """A session is one string, which expires with it; a sorted set lists the sessions of its user by their start.

    Raises:
        Unavailable: every method, when Redis does not answer.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._add, self._end_all = redis.register_script(_ADD), redis.register_script(_END_ALL)

    async def add(self, secret: str, session: Session) -> None:
        """Store *session*; if its user has more than 20, the oldest ones end."""
        session_id = id_of(secret)
        with translated():
            await self._add(
                [keys.session(session_id), keys.sessions_of(session.identity.user)],
                [
                    msgspec.json.encode(session),
                    int(session.expires.timestamp()),
                    session.started.timestamp(),
                    session_id,
                    MOST_SESSIONS,
                    keys.session(""),
                ],
            )

    async def get(self, secret: str) -> Session | None:
        with translated():
            content = await self._redis.get(keys.session(id_of(secret)))
        return msgspec.json.decode(content, type=Session) if content else None

    async def end(self, secret: str, user: str) -> None:
        """End one session of *user*; it need not exist."""
        with translated():
            await self._redis.delete(keys.session(id_of(secret)))
            await self._redis.zrem(keys.sessions_of(user), id_of(secret))

    async def end_all(self, user: str) -> int:
        """End all sessions of *user*; returns how many there were."""
        with translated():
            return int(text(await self._end_all([keys.sessions_of(user)], [keys.session("")])))

    async def take(self, state: str, seconds: int) -> bool:
        """Return whether *state* is used for the first time within *seconds*."""
        with translated():
            return bool(await self._redis.set(keys.sign_in(id_of(state)), "1", nx=True, ex=seconds))


def id_of(secret: str) -> str:
    """The public id of a secret: its SHA-256, so that the store does not have the secret."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
