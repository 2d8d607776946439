"""Grants in Redis, and the process's own memory of them: valid until they expire, and not a moment longer."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from gateway.adapters.grants import CachedGrants, RedisGrants
from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.store.redis import text
from tests.integration.gateway.conftest import TOKEN, make_grant

LAYER = ContainerLayer("https://example.com/a.tar.gz", "sha256:" + "a" * 64, 12, "sha256:" + "b" * 64)


class Asked(RedisGrants):
    """Remembers who was asked for."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.asked: list[str] = []

    async def get(self, token: str) -> Grant | None:
        self.asked.append(token)
        return await super().get(token)


@pytest.fixture
def stored(redis: Redis) -> Asked:
    return Asked(redis)


async def test_a_grant_comes_back_whole(stored: Asked) -> None:
    grant = make_grant(wanted=ContainerConfig(entrypoint=("/a",), env=("GRÜSSE=1",), layers=(LAYER,)))
    await stored.put(grant)

    assert await stored.get(TOKEN) == grant
    assert await stored.get("another") is None


async def test_a_grant_disappears_when_it_expires(redis: Redis, stored: Asked) -> None:
    grant = make_grant()
    await stored.put(grant)

    (key,) = await redis.keys()
    assert await redis.expiretime(text(key)) == int(grant.expires.timestamp())


async def test_a_grant_is_read_from_redis_once(stored: Asked) -> None:
    """However many ask, also at the same time: a pull costs no round trip."""
    grants = CachedGrants(stored)
    await stored.put(make_grant())

    found = await asyncio.gather(*(grants.get(TOKEN) for _ in range(100)))

    assert {grant and grant.token for grant in [*found, await grants.get(TOKEN)]} == {TOKEN}
    assert stored.asked == [TOKEN]


async def test_whoever_gave_a_grant_knows_it(stored: Asked) -> None:
    """The pull often follows at once, and to the same gateway."""
    grants = CachedGrants(stored)
    await grants.put(make_grant())

    assert await grants.get(TOKEN)
    assert stored.asked == []


async def test_a_grant_that_is_remembered_expires_all_the_same(stored: Asked) -> None:
    grants = CachedGrants(stored)
    await stored.put(make_grant(life=timedelta(seconds=2)))
    async with asyncio.timeout(5):
        assert await grants.get(TOKEN)
        while await grants.get(TOKEN):  # noqa: ASYNC110  it is the clock that is waited for
            await asyncio.sleep(0.05)

    assert stored.asked == [TOKEN]


async def test_an_unknown_token_is_asked_for_again(stored: Asked) -> None:
    """Another gateway may have granted it a moment ago."""
    here, there = CachedGrants(stored), CachedGrants(stored)
    assert await here.get(TOKEN) is None

    grant = make_grant()
    await there.put(grant)

    assert await here.get(TOKEN) == grant


async def test_only_the_last_grants_are_remembered(stored: Asked) -> None:
    """Memory is bounded: a million tokens cost what ten thousand cost."""
    grants = CachedGrants(stored, size=2)
    for token in ("a", "b", "c"):
        await grants.put(make_grant(token))
        await grants.get(token)
    stored.asked.clear()
    for token in ("c", "b", "a"):
        await grants.get(token)

    assert stored.asked == ["a"]
