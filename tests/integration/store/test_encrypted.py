"""Encrypted records in a real Redis, and the rotation of their keys."""

from datetime import timedelta

import pytest
from redis.asyncio import Redis

from gateway.commands.encryption import SecretsLeft, Settings, reencrypt
from swell.encryption import EncryptionKeys, new_key, parse_keys
from swell.errors import DecryptionFailed
from swell.store.connections.redis import raw
from swell.store.connections.settings import RedisSettings
from swell.store.encrypted import EncryptedRecords, Reencrypted
from swell_embedded.stack import Stack

OLD, NEW = new_key("old"), new_key("new")


def keys(text: str) -> EncryptionKeys:
    parsed = parse_keys(text)
    assert parsed
    return parsed


async def test_redis_has_only_ciphertext(redis: Redis) -> None:
    """A dump of Redis does not reveal the secret."""
    records = EncryptedRecords(redis, keys(OLD))
    await records.put("pairing:1", b"hunter2")

    assert await records.get("pairing:1") == b"hunter2"
    assert b"hunter2" not in raw(await redis.get("swell:encrypted:pairing:1") or b"")
    assert await records.get("pairing:2") is None
    assert await records.delete("pairing:1", "pairing:2") == 1
    assert await records.get("pairing:1") is None


async def test_a_record_that_was_moved_does_not_open(redis: Redis) -> None:
    """Access to Redis is not enough to use the secret of another user."""
    records = EncryptedRecords(redis, keys(OLD))
    await records.put("vault:alice", b"hunter2")
    await redis.rename("swell:encrypted:vault:alice", "swell:encrypted:vault:mallory")

    with pytest.raises(DecryptionFailed):
        await records.get("vault:mallory")


async def test_after_the_rotation_the_former_key_is_not_needed(redis: Redis, backends: Stack) -> None:
    """The command encrypts all records again, and keeps their lifetimes; a second run changes nothing."""
    before = EncryptedRecords(redis, keys(OLD))
    for number in range(250):
        await before.put(f"many:{number}", b"secret %d" % number)
    await before.put("short", b"expires", timedelta(hours=1))
    settings = Settings(redis=RedisSettings(url=backends.env["SWELL_REDIS_URL"]), encryption_keys=f"{NEW},{OLD}")

    await reencrypt(settings)
    again = await EncryptedRecords(redis, keys(f"{NEW},{OLD}")).reencrypt()

    after = EncryptedRecords(redis, keys(NEW))
    assert [await after.get(f"many:{number}") for number in range(250)] == [b"secret %d" % n for n in range(250)]
    assert await after.get("short") == b"expires"
    assert 0 < await redis.ttl("swell:encrypted:short") <= 3600
    assert again == Reencrypted(current=251)


async def test_a_secret_without_its_key_fails_the_rotation(redis: Redis, backends: Stack) -> None:
    """The operator must not remove a key that a record still needs."""
    await EncryptedRecords(redis, keys(OLD)).put("lost", b"secret")

    with pytest.raises(SecretsLeft, match="1 stored secrets"):
        await reencrypt(Settings(redis=RedisSettings(url=backends.env["SWELL_REDIS_URL"]), encryption_keys=NEW))
    assert await EncryptedRecords(redis, keys(OLD)).get("lost") == b"secret"
