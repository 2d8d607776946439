"""Each part of a backup with its real server: what is written comes back, and only into empty backends."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from swell.backup import run, state
from swell.backup.objects import LAYERS, LOGS, REPORTS
from swell.backup.rights import KEYS, TOKENS
from swell.backup.settings import Settings
from swell.errors import BadRequest
from swell.jobs.publish import publish
from swell.jobs.settings import NatsSettings
from swell.jobs.streams import Nats
from swell.store import keys, s3_objects
from swell.store.connections.redis import text
from swell.store.connections.settings import RedisSettings
from swell.store.s3_objects import S3Objects
from swell_embedded.stack import Stack
from tests.integration.jobs.test_consume import Worker, job, working
from tests.stores import s3_of

PARTS = (run.STATE, run.STREAMS, run.OBJECTS)


@pytest.fixture
def settings(backends: Stack) -> Settings:
    env = backends.env
    return Settings(
        redis=RedisSettings(url=env["SWELL_REDIS_URL"]),
        nats=NatsSettings(url=env["SWELL_NATS_URL"]),
        s3=s3_of(env),
    )


@pytest.fixture
async def buckets(settings: Settings) -> AsyncIterator[dict[str, S3Objects]]:
    """The three buckets, empty."""
    s3 = settings.s3
    names = {LOGS: s3.logs_bucket, LAYERS: s3.layers_bucket, REPORTS: s3.reports_bucket}
    async with AsyncExitStack() as opened:
        found = {kind: await opened.enter_async_context(s3_objects.connect(s3, name)) for kind, name in names.items()}
        await clear(found)
        yield found
        await clear(found)


async def clear(buckets: dict[str, S3Objects]) -> None:
    for bucket in buckets.values():
        for each in await bucket.page(""):
            await bucket.delete(each.key)


async def fill(redis: Redis) -> None:
    """A key of each type, with and without an end; collections of more than one chunk."""
    many = {f"field-{number}": f"value {number}" for number in range(2 * state.CHUNK + 7)}
    await redis.set("swell:string", b"\x00\xff bytes")
    await redis.set("swell:ends", "x", px=100_000_000)
    await redis.hset("swell:hash", mapping=many)  # type: ignore[arg-type]
    await redis.sadd("swell:set", *many)
    await redis.zadd("swell:sorted", {name: number + 0.123456789012 for number, name in enumerate(many)})
    await redis.rpush("swell:list", *many)
    await redis.set("swell:empty", "")
    await redis.set("others:key", "not of Swell")
    await redis.zadd(keys.WORKERS, {"host-1": time.time() + 60})


async def everything(redis: Redis) -> dict[Any, Any]:
    """All keys of Swell with their dumps, which are equal for equal contents; of sets, their sorted entries."""
    found: dict[Any, Any] = {}
    for name in await redis.keys("swell:*"):
        is_set = await redis.type(name) in {b"set", b"hash"}
        found[name] = b"" if is_set else await redis.dump(name)
    found[b"set"] = sorted(await redis.smembers("swell:set"))
    found[b"hash"] = await redis.hgetall("swell:hash")
    return found


async def test_what_was_backed_up_comes_back(
    redis: Redis, nats: Nats, buckets: dict[str, S3Objects], settings: Settings, tmp_path: Path
) -> None:
    """Records of every type with their ends, a stream with its messages and consumers, objects of any size."""
    await fill(redis)
    for number in range(3):
        await publish(nats.stream, job(f"bd-{number}_1"))
    worker = Worker()
    async with working(nats, worker):  # one consumer has taken all that was there
        for _ in range(3):
            await worker.next()
    await publish(nats.stream, job("bd-9_1"))
    sizes = {"bd-1_1.log": 0, "a/b.log": 17, "large": 20 << 20}
    for name, size in sizes.items():
        await buckets[LOGS].put(name, b"x" * size)
    await buckets[LAYERS].put("cache/quay.io/blob", b"can be fetched again")
    before = await everything(redis)
    ends = await redis.pexpiretime("swell:ends")

    await run.create(settings, tmp_path / "backup", PARTS)
    with pytest.raises(BadRequest, match=r"Redis, the stream JOBS, the bucket for logs would be overwritten"):
        await run.restore(settings, tmp_path / "backup", PARTS)
    await redis.flushall()
    await clear(buckets)
    await nats.stream.delete_stream("JOBS")
    await run.restore(settings, tmp_path / "backup", PARTS)

    before.pop(keys.WORKERS.encode())
    assert await everything(redis) == before
    assert await redis.pexpiretime("swell:ends") == ends
    assert {each.key: each.size for each in await buckets[LOGS].page("") if each.key[0] != "."} == sizes
    assert await buckets[LAYERS].get("cache/quay.io/blob") is None
    again = Worker()
    async with working(nats, again):
        assert (await again.next())[0] == "bd-9_1"  # and none of those that were done


async def test_expired_records_are_not_restored(redis: Redis, settings: Settings, tmp_path: Path) -> None:
    """A token that has ended since the backup stays ended."""
    await redis.set(keys.grant("old"), "{}", px=1500)
    await redis.set(keys.grant("new"), "{}", ex=1000)
    await run.create(settings, tmp_path / "backup", (run.STATE,))
    await redis.flushall()
    while time.time() * 1000 < (tmp_path / "backup" / "backup.json").stat().st_mtime * 1000 + 1600:
        await redis.ping()
    await run.restore(settings, tmp_path / "backup", (run.STATE,), kept=(TOKENS,))

    assert await redis.keys("swell:*") == [keys.grant("new").encode()]


async def test_with_overwrite_other_records_stay(redis: Redis, settings: Settings, tmp_path: Path) -> None:
    """A restore into a server in use replaces what the backup has, and removes nothing."""
    await redis.set("swell:a", "old")
    await run.create(settings, tmp_path / "backup", (run.STATE,))
    await redis.set("swell:a", "new")
    await redis.set("swell:b", "later")
    await run.restore(settings, tmp_path / "backup", (run.STATE,), overwrite=True)

    assert [await redis.get(name) for name in ("swell:a", "swell:b")] == [b"old", b"later"]


RIGHTS = {
    TOKENS: (
        keys.grant("t"),
        keys.leases("t"),
        keys.LEASED_RUNS,
        keys.image("t"),
        keys.session("s"),
        keys.sessions_of("ada"),
        keys.sign_in("i"),
    ),
    KEYS: (
        keys.api_key("k"),
        keys.API_KEYS,
        keys.api_keys_of("ada"),
        keys.account("ada"),
        keys.ACCOUNTS,
        keys.vault("user:ada"),
        keys.encrypted("vault:user:ada:quay.io"),
        keys.build_secret("n"),
        keys.webhooks("user:ada"),
        keys.encrypted("webhook:user:ada:ci"),
    ),
}
RECORDS = (keys.request("t"), keys.build("bd-1_1", keys.SUBMISSION), keys.encrypted("pairing:x"), keys.AUDIT_HEAD)


@pytest.mark.parametrize("kept", [(), (TOKENS,), (KEYS,), (TOKENS, KEYS)])
async def test_rights_that_may_have_been_revoked_since_are_not_restored(
    redis: Redis, settings: Settings, tmp_path: Path, kept: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens, sessions, keys, accounts and credentials, unless that is asked for; proofs of registries never."""
    for name in (*RIGHTS[TOKENS], *RIGHTS[KEYS], *RECORDS, keys.access("proof")):
        await redis.set(name, "x")
    await run.create(settings, tmp_path / "backup", (run.STATE,))
    await redis.flushall()
    await run.restore(settings, tmp_path / "backup", (run.STATE,), kept=kept)

    expected = {*RECORDS, *(name for kind in kept for name in RIGHTS[kind])}
    assert {text(name) for name in await redis.keys("swell:*")} == expected
    output = capsys.readouterr().out
    assert ("1 tokens, 1 sessions of browsers" in output) is (TOKENS not in kept)
    assert ("1 API keys, 1 accounts, 1 stored credentials, 1 webhooks" in output) is (KEYS not in kept)


async def test_a_right_that_was_revoked_since_stays_revoked_with_overwrite(
    redis: Redis, settings: Settings, tmp_path: Path
) -> None:
    """A restore into a server in use changes no right: neither those that were revoked, nor those that exist."""
    await redis.set(keys.api_key("revoked"), "old")
    await redis.set(keys.api_key("limited"), "old")
    await run.create(settings, tmp_path / "backup", (run.STATE,))
    await redis.delete(keys.api_key("revoked"))
    await redis.set(keys.api_key("limited"), "new")
    await run.restore(settings, tmp_path / "backup", (run.STATE,), overwrite=True)

    assert [await redis.get(keys.api_key(name)) for name in ("revoked", "limited")] == [None, b"new"]
