"""Leases of tokens in a real Redis: when a token expires, and which runs are looked up."""

from datetime import UTC, datetime, timedelta

import pytest
from redis.asyncio import Redis

from gateway.access.leases import RUN, TokenLeases
from gateway.adapters.access.grants import RedisGrants
from gateway.adapters.access.leases import RedisLeases
from gateway.domain.access.lease_terms import LeaseTerms
from gateway.domain.grant import Grant
from swell.errors import NotFound, TooManyRequests
from swell.store import keys
from tests.e2e.client import until as eventually
from tests.integration.gateway.grants import record_of

NOW = datetime.now(UTC).replace(microsecond=0)
TERMS = LeaseTerms(step=timedelta(minutes=20), limit=timedelta(days=2), check=timedelta(0))
HOUR = timedelta(hours=1)


def grant_of(token: str = "t1", *, life: timedelta = HOUR / 2, run: str = "") -> Grant:  # noqa: S107
    first_end = NOW + TERMS.step if run else None
    return Grant(
        token=token, image="a:1", platform="linux/amd64", created=NOW, expires=NOW + life, run=run, first_end=first_end
    )


@pytest.fixture
def grants(redis: Redis) -> RedisGrants:
    return RedisGrants(redis, check=TERMS.check)


@pytest.fixture
def leases(redis: Redis) -> RedisLeases:
    return RedisLeases(redis)


def at(leases: RedisLeases, hours: float) -> TokenLeases:
    """The use case, *hours* after the token was made."""
    return TokenLeases(leases, TERMS, lambda: NOW + timedelta(hours=hours))


async def put(grants: RedisGrants, grant: Grant) -> None:
    await grants.put(grant, record_of(grant))


async def end_of(redis: Redis) -> timedelta:
    """How long after its creation the token `t1` expires."""
    return datetime.fromtimestamp(await redis.expiretime(keys.grant("t1")), UTC) - NOW


async def test_a_lease_extends_a_token_and_its_return_gives_that_up(
    redis: Redis, grants: RedisGrants, leases: RedisLeases
) -> None:
    """Each lease lasts 20 minutes from its renewal; without one, the token has its own end again."""
    await put(grants, grant_of())

    first = await at(leases, 0.4).hold("t1")
    second = await at(leases, 0.45).hold("t1")
    assert await end_of(redis) == timedelta(hours=0.45, minutes=20) == second.token_expiration - NOW
    assert (await at(leases, 0.6).hold("t1", first.lease_id)).lease_id == first.lease_id
    assert await end_of(redis) == timedelta(hours=0.6, minutes=20)
    grant = await grants.get("t1")
    assert grant is not None
    assert grant.expires == NOW + TERMS.limit

    await at(leases, 0.6).give_back("t1", first.lease_id)
    assert await end_of(redis) == timedelta(hours=0.45, minutes=20)
    returned = await at(leases, 0.6).give_back("t1", second.lease_id)
    assert await end_of(redis) == HOUR / 2 == returned.token_expiration - NOW


async def test_no_lease_passes_two_days(redis: Redis, grants: RedisGrants, leases: RedisLeases) -> None:
    """The limit counts from the creation of the token."""
    await put(grants, grant_of(life=timedelta(hours=47.9)))

    lease = await at(leases, 47.8).hold("t1")

    assert lease.expiration == lease.latest_expiration == NOW + TERMS.limit
    assert await end_of(redis) == TERMS.limit


async def test_a_lease_does_not_shorten_a_token(redis: Redis, grants: RedisGrants, leases: RedisLeases) -> None:
    """A client can return only what it holds: a token of 36 hours keeps them."""
    await put(grants, grant_of(life=timedelta(hours=36)))

    lease = await at(leases, 0).hold("t1")
    await at(leases, 0).give_back("t1", lease.lease_id)

    assert await end_of(redis) == timedelta(hours=36)


async def test_unknown_tokens_and_leases_are_404(grants: RedisGrants, leases: RedisLeases) -> None:
    """A lease of one token is none of another; a returned one is unknown."""
    await put(grants, grant_of())
    await put(grants, grant_of("t2"))
    lease = await at(leases, 0).hold("t1")

    for token, lease_id in (("t2", lease.lease_id), ("t1", "ls-another"), ("gone", lease.lease_id)):
        with pytest.raises(NotFound):
            await at(leases, 0).hold(token, lease_id)
        with pytest.raises(NotFound):
            await at(leases, 0).give_back(token, lease_id)
    await at(leases, 0).give_back("t1", lease.lease_id)
    with pytest.raises(NotFound):
        await at(leases, 0).give_back("t1", lease.lease_id)
    with pytest.raises(NotFound):
        await at(leases, 0).hold("gone")


async def test_a_revoked_token_is_not_brought_back(grants: RedisGrants, leases: RedisLeases) -> None:
    """Nor are its leases of any use."""
    await put(grants, grant_of())
    lease = await at(leases, 0).hold("t1")
    await grants.revoke("t1")

    with pytest.raises(NotFound):
        await at(leases, 0).hold("t1", lease.lease_id)
    assert await grants.get("t1") is None


async def test_the_leases_of_a_token_are_bounded(redis: Redis, grants: RedisGrants, leases: RedisLeases) -> None:
    """One client cannot fill the store. The ids of leases are stored as hashes."""
    await put(grants, grant_of())
    held = [await at(leases, 0).hold("t1") for _ in range(100)]

    with pytest.raises(TooManyRequests):
        await at(leases, 0).hold("t1")

    stored = repr(await redis.hgetall(keys.leases("t1")))
    assert not any(each.lease_id in stored for each in held)
    await at(leases, 0).give_back("t1", held[0].lease_id)
    await at(leases, 0).hold("t1")


async def test_the_token_of_a_run_lives_in_steps(redis: Redis, grants: RedisGrants, leases: RedisLeases) -> None:
    """It is due at once here, and lives 20 minutes at first; the lease of its run extends it."""
    await put(grants, grant_of(life=TERMS.limit, run="w1"))

    assert await end_of(redis) == TERMS.step
    assert await leases.claim(10, 60) == ["t1"]
    assert await leases.run_of("t1") == "w1"
    leased = await leases.leased("t1", TERMS.limit)
    assert leased is not None
    await leases.hold(leased, RUN, NOW + 3 * TERMS.step, is_new=True)
    assert await end_of(redis) == 3 * TERMS.step


async def test_a_claimed_run_is_due_again_if_its_gateway_dies(grants: RedisGrants, leases: RedisLeases) -> None:
    """A claim hides the run from other gateways for some time; nothing is removed before the lookup has a result."""
    await put(grants, grant_of(life=TERMS.limit, run="w1"))

    assert await leases.claim(10, 0.3) == ["t1"]
    assert await leases.claim(10, 0.3) == []

    async def is_due() -> bool:
        return await leases.claim(10, 60) == ["t1"]

    await eventually(is_due)
    await leases.forget("t1")
    await leases.due_in("t1", -1)
    assert await leases.claim(10, 60) == []
