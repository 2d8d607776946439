"""The queues of builds, as the operator sees them: which clients have builds, and which builds these are."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from swell.api.operator import QueueClient, QueuedBuild
from swell.store import keys
from swell.store.connections.redis import raw, text, translated

MAX_BUILDS = 100_000  # that are read to list their clients
MAX_USERS = 10
_BATCH = 1000


class _Submitted(Struct):
    """The members of a `Submission` that are shown."""

    created: datetime | None = None
    target_image: str = ""
    platform: str = ""
    organisation: str = ""
    client: str = ""


class QueueView:
    """Reads the queues; raises `Unavailable` when Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def clients(self) -> tuple[list[str], bool]:
        """Return the clients with builds that have not ended, by name, and whether all builds were read."""
        names, cursor, count = set[str](), 0, 0
        entries: Any
        with translated():
            while True:
                cursor, entries = await self._redis.hscan(keys.QUEUE_CLIENT_OF, cursor, count=_BATCH)
                names.update(map(text, entries.values()))
                count += len(entries)
                if not cursor or count >= MAX_BUILDS:
                    return sorted(names), not cursor

    async def queues(self, clients: Sequence[str]) -> list[QueueClient]:
        """Return the queues of *clients*."""
        with translated():
            async with self._redis.pipeline(transaction=False) as pipe:
                for client in clients:
                    for key in (_waiting(client), _running(client)):
                        pipe.zcard(key)
                        pipe.zrange(key, 0, 0)
                replies: list[Any] = await pipe.execute()
            waiting, next_ones, running, started = (replies[at::4] for at in range(4))
            oldest = [
                text(first[0]) if (first := released or queued) else ""
                for queued, released in zip(next_ones, started, strict=True)
            ]
            submissions = await self._submissions(oldest)
        return [
            QueueClient(
                client=client,
                waiting=waiting[at],
                running=running[at],
                oldest=submitted.created if (submitted := submissions[at]) else None,
                organisation=submitted.organisation if submitted else "",
            )
            for at, client in enumerate(clients)
        ]

    async def builds(self, client: str | None, start: int, limit: int) -> list[QueuedBuild]:
        """Return *limit* builds from the place *start*: of *client*, or all that were released from their queues."""
        stop, released, waiting = start + limit - 1, list[Any](), list[Any]()
        with translated():
            if client is None:
                released = await self._redis.zrange(keys.UNFINISHED, start, stop, withscores=True)
                return await self._describe(released, [])
            count = await self._redis.zcard(_running(client))
            if start < count:
                released = await self._redis.zrange(_running(client), start, stop, withscores=True)
            left, first = limit - len(released), max(0, start - count)
            if left > 0:
                waiting = await self._redis.zrange(_waiting(client), first, first + left - 1)
            return await self._describe(released, [text(each) for each in waiting], first)

    async def _describe(self, released: Sequence[Any], waiting: Sequence[str], first: int = 0) -> list[QueuedBuild]:
        """Read what is shown of *released* builds, and of those that are *waiting* from the place *first*."""
        ids = [text(build_id) for build_id, _ in released] + list(waiting)
        submissions = await self._submissions(ids)
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(keys.QUEUE_READY)
            for build_id in ids:
                pipe.zrank(keys.QUEUE_READY, build_id)
                pipe.get(keys.build(build_id, keys.ATTEMPTS))
                pipe.hscan(keys.build(build_id, keys.INTEREST), 0, count=100)
            ready, *details = await pipe.execute()
        builds = []
        for at, build_id in enumerate(ids):
            rank, attempts, (_, interest) = details[3 * at : 3 * at + 3]
            submitted = submissions[at] or _Submitted()
            place = at - len(released)  # among those that wait
            if place >= 0:
                rank = ready + first + place
            builds.append(
                QueuedBuild(
                    id=build_id,
                    state="waiting" if place >= 0 else "running" if rank is None else "ready",
                    position=None if rank is None else rank + 1,
                    released=None if place >= 0 else datetime.fromtimestamp(released[at][1], UTC),
                    submitted=submitted.created,
                    client=submitted.client,
                    target_image=submitted.target_image,
                    platform=submitted.platform,
                    organisation=submitted.organisation,
                    users=_users(interest),
                    attempts=int(attempts or 0),
                )
            )
        return builds

    async def _submissions(self, ids: Sequence[str]) -> list[_Submitted | None]:
        if not ids:
            return []
        stored = await self._redis.mget([keys.build(build_id, keys.SUBMISSION) for build_id in ids])
        return [msgspec.json.decode(each, type=_Submitted) if each else None for each in stored]


def _users(interest: dict[bytes, bytes]) -> tuple[str, ...]:
    """The names of users in the hash of a build; those that have withdrawn begin with `-`."""
    entries = (raw(entry) for entry in interest.values())
    names = {entry[1:].decode("utf-8", "replace") for entry in entries if entry.startswith(b"+") and entry != b"+"}
    return tuple(sorted(names)[:MAX_USERS])


def _waiting(client: str) -> str:
    return f"{keys.QUEUE_WAITING}:{client}"


def _running(client: str) -> str:
    return f"{keys.QUEUE_RUNNING}:{client}"
