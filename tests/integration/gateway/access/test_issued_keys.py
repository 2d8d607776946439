"""Issued API keys in Redis, and their revocation in the caches of gateways."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from gateway.access.keys import Actor, KeyIssuer
from gateway.adapters.access.confirmed_cache import FRESH, STALE
from gateway.adapters.access.issued_keys import IssuedKeys, RedisKeys
from gateway.adapters.builds.events import RevocationEvents
from gateway.domain.access.api_key import IssuedKey, id_of, new_key
from gateway.domain.access.identity import PUBLIC_SCOPES, Identity, Scope
from swell.api.keys import KeyChange, KeyRequest
from swell.errors import Unauthorized
from swell.jobs.consume import subscribe
from swell.jobs.messages import KeyChanged
from swell.jobs.streams import Nats

NOW = datetime.now(UTC)
OPS = Actor("ops")


@pytest.fixture
def stored(redis: Redis) -> RedisKeys:
    return RedisKeys(redis)


def make_key(number: int = 0, user: str = "ada", expires: datetime | None = None) -> tuple[IssuedKey, str]:
    text = new_key()
    created = NOW + timedelta(microseconds=number)
    key = IssuedKey(
        id=id_of(text),
        user=user,
        created=created,
        created_by="ops",
        scopes=PUBLIC_SCOPES,
        expires=expires,
        name="größe",
    )
    return key, text


async def test_a_key_comes_back_whole(stored: RedisKeys) -> None:
    """All members survive the store; the key itself is not in it."""
    key, text = make_key(expires=NOW + timedelta(days=1))
    await stored.add(key, 100)

    assert await stored.get(key.id) == key
    assert await stored.get("0" * 32) is None
    assert await IssuedKeys(stored).identify(text, None) == key.identity()


async def test_nothing_in_redis_contains_the_key(redis: Redis, stored: RedisKeys) -> None:
    """A dump of Redis opens nothing."""
    key, text = make_key()
    await stored.add(key, 100)

    dumps = [await redis.dump(name) or b"" for name in await redis.keys("*")]

    assert len(dumps) == 3
    assert not any(text.encode() in dump or text[4:36].encode() in dump for dump in dumps)


async def test_keys_are_listed_newest_first_in_pages(stored: RedisKeys) -> None:
    """Of one user, or of all; revoked keys are not listed."""
    keys = [make_key(number, user)[0] for number, user in enumerate(("ada", "bob", "ada", "ada"))]
    for key in keys:
        await stored.add(key, 100)
    await stored.remove(keys[2])

    first, cursor = await stored.page("ada", None, 1)
    second, after = await stored.page("ada", cursor, 1)
    everything, _ = await stored.page(None, None, 100)

    assert [*first, *second] == [keys[3], keys[0]]
    assert await stored.page("ada", after, 1) == ([], None)
    assert everything == [keys[3], keys[1], keys[0]]
    assert not await stored.remove(keys[2])
    assert not await stored.replace(keys[2])


async def test_expired_keys_free_their_places(redis: Redis, stored: RedisKeys) -> None:
    """They do not count against the limit of a user, and lists leave them out."""
    keys = [make_key(number)[0] for number in range(3)]
    assert [await stored.add(key, 2) for key in keys] == [True, True, False]
    await redis.delete(f"swell:api-key:{keys[0].id}")  # as its expiry does

    assert await stored.add(keys[2], 2)
    assert (await stored.page("ada", None, 10))[0] == [keys[2], keys[1]]
    assert not await stored.add(make_key(9)[0], 2)


async def test_a_key_ends_at_its_expiry(redis: Redis, stored: RedisKeys) -> None:
    """In Redis, and in the memory of a gateway that has used it a moment ago; a change can end it earlier."""
    key, text = make_key(expires=NOW + timedelta(days=1))
    identities = IssuedKeys(stored)
    await stored.add(key, 100)
    assert await identities.identify(text, None)

    soon = datetime.now(UTC) + timedelta(seconds=2)
    await stored.replace(replace(key, expires=soon))
    assert await redis.expiretime(f"swell:api-key:{key.id}") == int(soon.timestamp())
    identities.on_changed(KeyChanged(id="1", key_id=key.id, revoked=False))

    await until(lambda: refuses(identities, text))


async def test_another_source_decides_about_other_tokens(stored: RedisKeys) -> None:
    """A mistyped key is refused without a call to Redis, so that guesses cost nothing."""
    identities = IssuedKeys(stored)

    assert await identities.identify("swell_a-key-of-the-file", None) is None
    for wrong in ("swl_", "swl_" + "a" * 39, new_key()[:-1] + "1", new_key()):
        with pytest.raises(Unauthorized):
            await identities.identify(wrong, None)


async def test_a_revoked_key_is_dead_at_all_gateways_at_once(stored: RedisKeys, nats: Nats) -> None:
    """The event arrives before a gateway reads the key again by itself, also while the key is in constant use."""
    gateways = [IssuedKeys(stored), IssuedKeys(stored)]
    for gateway in gateways:
        await subscribe(nats, KeyChanged, gateway.on_changed)
    issuer = KeyIssuer(stored, RevocationEvents(nats))
    key, text = await issuer.issue(OPS, KeyRequest(user="ada", scopes=("pull", "build")))
    for gateway in gateways:
        assert await gateway.identify(text, None)

    await issuer.change(OPS, key.id, KeyChange(scopes=("pull",)))
    for gateway in gateways:
        await until(partial(scopes_are, gateway, text, {Scope.PULL}), seconds=FRESH - 1)
    await issuer.change(OPS, key.id, KeyChange(scopes=("build",)))  # a second event of the same key
    for gateway in gateways:
        await until(partial(scopes_are, gateway, text, {Scope.BUILD}), seconds=FRESH - 1)
    await issuer.revoke(OPS, key.id)
    for gateway in gateways:
        await until(partial(refuses, gateway, text), seconds=FRESH - 1)


async def test_a_revoked_key_dies_without_the_event(stored: RedisKeys) -> None:
    """The message queue may be unavailable: the key is then read again after some seconds."""
    seconds = 0.0
    gateway = IssuedKeys(stored, lambda: seconds)
    key, text = make_key()
    await stored.add(key, 100)
    assert await gateway.identify(text, None)
    await stored.remove(key)

    assert await gateway.identify(text, None)
    seconds = STALE + 1
    with pytest.raises(Unauthorized):
        await gateway.identify(text, None)


class Counted(RedisKeys):
    calls = 0

    async def get(self, key_id: str) -> IssuedKey | None:
        self.calls += 1
        return await super().get(key_id)


async def test_a_key_in_use_costs_no_call(redis: Redis) -> None:
    """A request with a key must not wait longer than an anonymous one."""
    stored = Counted(redis)
    key, text = make_key()
    await stored.add(key, 100)
    gateway = IssuedKeys(stored)

    identities = await asyncio.gather(*(gateway.identify(text, None) for _ in range(100)))
    identities += [await gateway.identify(text, None) for _ in range(100)]

    assert stored.calls == 1
    assert set(identities) == {key.identity()}


async def refuses(gateway: IssuedKeys, text: str) -> bool:
    try:
        await gateway.identify(text, None)
    except Unauthorized:
        return True
    return False


async def scopes_are(gateway: IssuedKeys, text: str, scopes: set[Scope]) -> bool:
    identity: Identity | None = await gateway.identify(text, None)
    return identity is not None and identity.scopes == scopes


async def until(look: Callable[[], Awaitable[bool]], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await look():  # noqa: ASYNC110  what is waited for is a message
            await asyncio.sleep(0.01)
