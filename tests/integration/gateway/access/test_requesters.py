"""Who has requested which records, in Redis."""

from datetime import timedelta

from redis.asyncio import Redis

from gateway.adapters.access.requesters import RedisRequesters
from gateway.domain.access.identity import Identity
from gateway.domain.access.record_access import Reader, names_of, readers_of


async def test_requesters_add_up_and_expire_with_their_record(redis: Redis) -> None:
    """Several users request the same build; the names of users are not in Redis."""
    requesters = RedisRequesters(redis, timedelta(days=1))
    await requesters.add(["bd-1_1", "token"], names_of("ada", "engines"))
    await requesters.add(["bd-1_1"], names_of("bob", ""))

    stored = await requesters.get("bd-1_1")

    assert readers_of(stored, Identity(user="bob")) == {Reader.REQUESTER, Reader.ANYONE}
    assert readers_of(stored, Identity(user="cyd", organisation="engines")) == {Reader.ORGANISATION, Reader.ANYONE}
    assert readers_of(await requesters.get("token"), Identity(user="bob")) == {Reader.ANYONE}
    assert await requesters.get("another") == frozenset()
    assert 0 < await redis.ttl("swell:readers:bd-1_1") <= timedelta(days=1).total_seconds()
    assert not [name for name in stored if "ada" in name or "engines" in name]


def test_a_user_is_not_taken_for_an_organisation_of_the_same_name() -> None:
    """Users choose neither, but an operator may give both the same name."""
    stored = names_of("engines", "")

    assert readers_of(stored, Identity(user="x", organisation="engines")) == {Reader.ANYONE}
