"""Grants in Redis, and the process's own memory of them: valid until they expire, and not a moment longer."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from gateway.adapters.grants import CachedGrants, RedisGrants
from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.jobs.messages import TokenRevoked
from tests.integration.gateway.conftest import TOKEN, asked, make_grant, record_of

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
    await stored.put(grant, record_of(grant))

    assert await stored.get(TOKEN) == grant
    assert await stored.get("another") is None


async def test_a_grant_disappears_when_it_expires(redis: Redis, stored: Asked) -> None:
    grant = make_grant()
    await stored.put(grant, record_of(grant))

    assert await redis.expiretime(f"swell:grant:{TOKEN}") == int(grant.expires.timestamp())


async def test_a_record_outlives_its_grant(redis: Redis, stored: Asked) -> None:
    """People look at what was asked long after its token has expired."""
    grant = make_grant()
    await stored.put(grant, record_of(grant))
    await stored.revoke(TOKEN)

    assert await stored.get(TOKEN) is None
    assert await stored.record(TOKEN) == record_of(grant)
    assert await redis.ttl(f"swell:request:{TOKEN}") > timedelta(days=89).total_seconds()


async def test_a_revoked_token_opens_nothing_though_it_was_remembered(stored: Asked) -> None:
    """The gateway that revokes forgets at once; the others when they hear of it."""
    here, there = CachedGrants(stored), CachedGrants(stored)
    await here.put(*asked())
    assert await there.get(TOKEN)

    assert await here.revoke(TOKEN)
    there.revoked(TokenRevoked(id=TOKEN))

    assert (await here.get(TOKEN), await there.get(TOKEN)) == (None, None)
    assert not await here.revoke(TOKEN)


async def test_a_grant_is_read_from_redis_once(stored: Asked) -> None:
    """However many ask, also at the same time: a pull costs no round trip."""
    grants = CachedGrants(stored)
    await stored.put(*asked())

    found = await asyncio.gather(*(grants.get(TOKEN) for _ in range(100)))

    assert {grant and grant.token for grant in [*found, await grants.get(TOKEN)]} == {TOKEN}
    assert stored.asked == [TOKEN]


async def test_whoever_gave_a_grant_knows_it(stored: Asked) -> None:
    """The pull often follows at once, and to the same gateway."""
    grants = CachedGrants(stored)
    await grants.put(*asked())

    assert await grants.get(TOKEN)
    assert stored.asked == []


async def test_a_grant_that_is_remembered_expires_all_the_same(stored: Asked) -> None:
    grants = CachedGrants(stored)
    await stored.put(*asked(life=timedelta(seconds=2)))
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
    await there.put(grant, record_of(grant))

    assert await here.get(TOKEN) == grant


async def test_only_the_last_grants_are_remembered(stored: Asked) -> None:
    """Memory is bounded: a million tokens cost what ten thousand cost."""
    grants = CachedGrants(stored, size=2)
    for token in ("a", "b", "c"):
        await grants.put(*asked(token))
        await grants.get(token)
    stored.asked.clear()
    for token in ("c", "b", "a"):
        await grants.get(token)

    assert stored.asked == ["a"]
