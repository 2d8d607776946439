"""Grants in Redis, and the process's own memory of them: valid until they expire, and not a moment longer."""

import asyncio
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from gateway.adapters.access.confirmed_cache import FRESH, MAX_UNCONFIRMED, STALE, TIMEOUT
from gateway.adapters.access.grants import CachedGrants, RedisGrants
from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import Unavailable
from swell.jobs.messages import TokenRevoked
from tests.integration.gateway.grants import TOKEN, asked, make_grant, record_of

LAYER = ContainerLayer("https://example.com/a.tar.gz", "sha256:" + "a" * 64, 12, "sha256:" + "b" * 64)


class Asked(RedisGrants):
    """Records the tokens that were read; fails while `away`, and waits for `released` while `hangs`."""

    def __init__(self, redis: Redis) -> None:
        super().__init__(redis)
        self.asked: list[str] = []
        self.away = self.hangs = False
        self.released = asyncio.Event()
        self.under_way = 0

    async def get(self, token: str) -> Grant | None:
        self.asked.append(token)
        self.under_way += 1
        try:
            found = None if self.away else await super().get(token)
            if self.hangs:
                await self.released.wait()
            if self.away:
                raise Unavailable
            return found
        finally:
            self.under_way -= 1


@pytest.fixture
def stored(redis: Redis) -> Asked:
    return Asked(redis)


async def test_a_grant_comes_back_whole(stored: Asked) -> None:
    """All fields survive the store."""
    grant = make_grant(wanted=ContainerConfig(entrypoint=("/a",), env=("GRÜSSE=1",), layers=(LAYER,)))
    await stored.put(grant, record_of(grant))

    assert await stored.get(TOKEN) == grant
    assert await stored.get("another") is None


async def test_a_grant_disappears_when_it_expires(redis: Redis, stored: Asked) -> None:
    """Redis deletes expired grants."""
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
    there.on_revoked(TokenRevoked(id=TOKEN))

    assert (await here.get(TOKEN), await there.get(TOKEN)) == (None, None)
    assert not await here.revoke(TOKEN)


async def test_a_grant_is_read_from_redis_once(stored: Asked) -> None:
    """However many ask, also at the same time: a pull costs no round trip."""
    grants = CachedGrants(stored)
    await stored.put(*asked())

    found = await asyncio.gather(*(grants.get(TOKEN) for _ in range(100)))

    assert {grant and grant.token for grant in [*found, await grants.get(TOKEN)]} == {TOKEN}
    assert stored.asked == [TOKEN]


async def test_the_gateway_that_stored_a_grant_has_it_in_memory(stored: Asked) -> None:
    """The pull often follows at once, and to the same gateway."""
    grants = CachedGrants(stored)
    await grants.put(*asked())

    assert await grants.get(TOKEN)
    assert stored.asked == []


async def test_a_grant_that_is_remembered_expires_all_the_same(stored: Asked) -> None:
    """The cache does not extend the life of a token."""
    grants = CachedGrants(stored)
    await stored.put(*asked(life=timedelta(seconds=4)))
    async with asyncio.timeout(30):
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
    """Memory is bounded by bytes: a million tokens cost what ten thousand cost, and large requests count as such."""
    grants = CachedGrants(stored, size=5_000)
    for token in ("a", "b", "c"):
        await grants.put(*asked(token))
        await grants.get(token)
    stored.asked.clear()
    for token in ("c", "b", "a"):
        await grants.get(token)

    assert stored.asked == ["a"]


async def test_a_grant_larger_than_the_memory_is_given_all_the_same(stored: Asked) -> None:
    """A grant that the cache cannot hold is read from Redis each time."""
    grants = CachedGrants(stored, size=10_000)
    grant = make_grant(wanted=ContainerConfig(env=("A=" + "x" * 10_000,)))
    await grants.put(grant, record_of(grant))

    assert [await grants.get(TOKEN), await grants.get(TOKEN)] == [grant, grant]
    assert stored.asked == [TOKEN, TOKEN]


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def landed(stored: Asked, count: int) -> None:
    """Wait until Redis was asked *count* times and its answers have been taken."""
    async with asyncio.timeout(30):
        while len(stored.asked) < count or stored.under_way:  # noqa: ASYNC110  no event reports it
            await asyncio.sleep(0.005)


async def test_a_grant_in_use_is_confirmed_in_the_background(stored: Asked, clock: Clock) -> None:
    """The revocation event may be lost. A warm pull still waits for no call."""
    grants = CachedGrants(stored, now=clock)
    await grants.put(*asked())
    await stored.revoke(TOKEN)  # by a gateway that publishes no event

    clock.seconds = FRESH + 1
    assert await grants.get(TOKEN)
    await landed(stored, 1)

    assert await grants.get(TOKEN) is None


async def test_a_stale_grant_is_confirmed_before_it_is_used(stored: Asked, clock: Clock) -> None:
    """It may have been revoked while the gateway missed the event."""
    grants = CachedGrants(stored, now=clock)
    await grants.put(*asked())
    await stored.revoke(TOKEN)

    clock.seconds = STALE + 1

    assert await grants.get(TOKEN) is None


async def test_a_confirmed_grant_is_fresh_again(stored: Asked, clock: Clock) -> None:
    """A confirmation counts as much as the first read."""
    grants = CachedGrants(stored, now=clock)
    await grants.put(*asked())
    clock.seconds = 100

    assert [bool(await grants.get(TOKEN)) for _ in range(10)] == [True] * 10
    assert stored.asked == [TOKEN]


@pytest.mark.parametrize("hangs", [False, True])
async def test_without_redis_what_is_known_goes_on_but_not_for_ever(stored: Asked, clock: Clock, hangs: bool) -> None:
    """A token cannot be taken away meanwhile; whether this gateway alone lost touch it cannot know."""
    grants = CachedGrants(stored, now=clock)
    await grants.put(*asked())
    stored.away, stored.hangs = True, hangs

    clock.seconds = STALE + 1
    assert await grants.get(TOKEN)
    started = asyncio.get_running_loop().time()
    assert [bool(await grants.get(TOKEN)) for _ in range(50)] == [True] * 50
    assert asyncio.get_running_loop().time() - started < 10 * TIMEOUT  # not all of them have waited
    clock.seconds = MAX_UNCONFIRMED + 1
    with pytest.raises(Unavailable):
        await grants.get(TOKEN)
    stored.away = False
    stored.released.set()
    await landed(stored, 1)

    assert await grants.get(TOKEN)


async def test_a_token_that_is_revoked_while_redis_answers_stays_revoked(stored: Asked) -> None:
    """The response of Redis is older than the event."""
    grants = CachedGrants(stored)
    await stored.put(*asked())
    stored.hangs = True
    asking = asyncio.create_task(grants.get(TOKEN))
    await under_way(stored)
    grants.on_revoked(TokenRevoked(id=TOKEN))
    stored.released.set()

    assert await asking is None
    stored.hangs = False
    await stored.revoke(TOKEN)
    assert await grants.get(TOKEN) is None


async def under_way(stored: Asked) -> None:
    """Wait until a question is under way."""
    async with asyncio.timeout(30):
        while not stored.under_way:  # noqa: ASYNC110  no event reports it
            await asyncio.sleep(0)
