"""Records of Redis that nothing refers to: secrets without an entry in a vault, and entries of lists."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from swell.garbage.findings import Finding
from swell.garbage.marks import Marks
from swell.store import keys
from swell.store.connections.redis import text, translated

_SECRETS = f"{keys.ENCRYPTED}vault:"
_BATCH = 500

# KEYS: a list of keys. ARGV: its entry, the record of the key. Returns 1 if the entry was removed.
_REMOVE_ENTRY = """
if redis.call('EXISTS', ARGV[2]) == 1 then return 0 end
if ARGV[3] == '1' then redis.call('ZREM', KEYS[1], ARGV[1]) end
return 1
"""

# ARGV: the id of a build, '1' to remove. Returns 1 if the queue has the build, and the record of it has ended.
_DEQUEUE = f"""{keys.LUA}
local id, client = ARGV[1], redis.call('HGET', CLIENT_OF, ARGV[1])
if not client or redis.call('EXISTS', build_key(id, SUBMISSION)) == 1 then return 0 end
if ARGV[2] == '1' then
    redis.call('ZREM', waiting_key(client), id)
    redis.call('ZREM', running_key(client), id)
    redis.call('ZREM', READY, id)
    redis.call('ZREM', UNFINISHED, id)
    redis.call('ZREM', UNPUBLISHED, id)
    redis.call('HDEL', CLIENT_OF, id)
end
return 1
"""


class _Vault(Struct):
    entries: dict[str, Any] = {}


async def collect(redis: Redis, marks: Marks, *, deletes: bool) -> AsyncIterator[Finding]:
    """Yield, and with *deletes* remove, leftovers. Secrets wait for the age of *marks*; a vault is written after them.

    Raises:
        Unavailable: Redis does not answer.
    """
    async for finding in _secrets(redis, marks, deletes=deletes):
        yield finding
    async for finding in _key_entries(redis, deletes=deletes):
        yield finding
    async for finding in _queued(redis, deletes=deletes):
        yield finding


async def _secrets(redis: Redis, marks: Marks, *, deletes: bool) -> AsyncIterator[Finding]:
    async for key in _scan(redis, f"{_SECRETS}*"):
        name = key.removeprefix(keys.ENCRYPTED)
        kind, _, rest = name.removeprefix("vault:").partition(":")
        owner, _, path = rest.partition(":")
        with translated():
            vault = await redis.get(keys.vault(f"{kind}:{unquote(owner)}"))
            size = int(await redis.strlen(key))
        if vault and path in msgspec.json.decode(vault, type=_Vault).entries:
            await marks.clear(name)
        elif not await marks.is_due(name):
            yield Finding("secret", name, size, waits=True)
        else:
            if deletes:
                with translated():
                    await redis.delete(key)
                await marks.clear(name)
            yield Finding("secret", name, size)


async def _key_entries(redis: Redis, *, deletes: bool) -> AsyncIterator[Finding]:
    """Entries of expired API keys in the lists of all keys and of users' keys."""
    remove = redis.register_script(_REMOVE_ENTRY)
    async for listing in _scan(redis, f"{keys.API_KEYS}*"):
        with translated():
            members = [text(member) async for member, _ in redis.zscan_iter(listing)]
            for member in members:
                key_id = member.partition(":")[2]
                if await remove([listing], [member, keys.api_key(key_id), int(deletes)]):
                    yield Finding("key", f"{listing} {key_id}", len(member))


async def _queued(redis: Redis, *, deletes: bool) -> AsyncIterator[Finding]:
    """Builds in the queue whose records have ended."""
    dequeue = redis.register_script(_DEQUEUE)
    with translated():
        async for build_id, _ in redis.hscan_iter(keys.QUEUE_CLIENT_OF, count=_BATCH):
            if await dequeue([], [build_id, int(deletes)]):
                yield Finding("queued", text(build_id), 0)


async def _scan(redis: Redis, pattern: str) -> AsyncIterator[str]:
    with translated():
        async for key in redis.scan_iter(pattern, count=_BATCH):
            yield text(key)
