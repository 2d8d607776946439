"""Removing an organisation removes its data, and nothing of others."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from redis.asyncio import Redis

from gateway.adapters.access.issued_keys import RedisKeys
from gateway.adapters.access.sessions import RedisSessions, id_of
from gateway.adapters.access.stored_accounts import RedisAccounts
from gateway.adapters.access.vaults import RedisVaults
from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.commands.organisations import Settings, remove
from gateway.domain.access.account import Account
from gateway.domain.access.api_key import IssuedKey
from gateway.domain.access.identity import PUBLIC_SCOPES, Identity
from gateway.domain.access.session import new_session
from gateway.domain.access.vault import Entry, organisation_owner
from gateway.domain.grant import Grant
from swell.encryption import parse_keys
from swell.jobs.messages import KeyChanged, TokenRevoked, VaultChanged
from swell.jobs.settings import NatsSettings
from swell.jobs.streams import Nats
from swell.registry.credentials.keyring import Credentials
from swell.store import keys, s3_objects
from swell.store.builds import RedisBuilds
from swell.store.connections.redis import text
from swell.store.connections.settings import RedisSettings
from swell.store.encrypted import EncryptedRecords
from swell.store.s3_objects import S3Objects
from swell_embedded.stack import Stack
from tests.integration.store.test_queue import OK, recipe
from tests.stores import s3_of

KEYS = "first:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
OURS, THEIRS = "former.example", "lab.example"
NOW = datetime.now(UTC)


@pytest.fixture
def settings(backends: Stack) -> Settings:
    env = backends.env
    return Settings(
        redis=RedisSettings(url=env["SWELL_REDIS_URL"]),
        nats=NatsSettings(url=env["SWELL_NATS_URL"]),
        s3=s3_of(env),
        encryption_keys=KEYS,
    )


@pytest.fixture
async def buckets(settings: Settings) -> AsyncIterator[tuple[S3Objects, S3Objects]]:
    s3 = settings.s3
    async with s3_objects.connect(s3, s3.logs_bucket) as logs, s3_objects.connect(s3, s3.reports_bucket) as reports:
        yield logs, reports


async def fill(redis: Redis, nats: Nats, buckets: tuple[S3Objects, S3Objects], organisation: str, at: int) -> str:
    """One of everything that *organisation* can have; return the id of its build."""
    user, owner, token = f"user-of-{organisation}", organisation_owner(organisation), f"token{at}"
    encryption = parse_keys(KEYS)
    assert encryption
    records = EncryptedRecords(redis, encryption)
    entry = Entry(user_name="robot", stored=NOW, stored_by=user)
    await RedisVaults(redis, records).put(owner, "quay.io", entry, Credentials("robot", "secret"), 50)
    await redis.hset(keys.webhooks(owner), "chat", "{}")
    await records.put(f"webhook:{owner}:chat", b"secret")
    account = Account(
        name=user, hash="x", created=NOW, created_by="ops", scopes=PUBLIC_SCOPES, organisation=organisation
    )
    await RedisAccounts(redis).add(account, 100)
    key = IssuedKey(
        id=f"{at:032x}", user=user, created=NOW, created_by="ops", scopes=PUBLIC_SCOPES, organisation=organisation
    )
    await RedisKeys(redis).add(key, 100)
    identity = Identity(user=user, organisation=organisation)
    await RedisSessions(redis).add(f"session{at}", new_session(identity, NOW, timedelta(hours=1)))
    builds = RedisBuilds(redis)
    submission = msgspec.structs.replace(recipe(at), organisation=organisation, series=f"series{at}")
    build_id, _ = await builds.submit(submission)
    await builds.finish(build_id, OK)
    grant = Grant(
        token=token,
        image=submission.target_image,
        platform="linux/amd64",
        created=NOW,
        expires=NOW + timedelta(hours=1),
        build_id=build_id,
        user=user,
        organisation=organisation,
    )
    await redis.set(keys.grant(token), msgspec.json.encode(grant))
    await redis.set(keys.request(token), b"{}")
    scan = {"key": "x", "image": "x", "created": NOW, "organisation": organisation}
    await redis.set(keys.scan(f"sc-{at:016x}_1", keys.SUBMISSION), msgspec.json.encode(scan))
    await buckets[0].put(f"{build_id}.log", b"log")
    await buckets[1].put(f"scans/sc-{at:016x}_1/report.json", b"{}")
    await Pseudonyms(redis).of([user])
    return build_id


async def contents(redis: Redis, buckets: tuple[S3Objects, S3Objects]) -> set[str]:
    """The names of all keys and objects."""
    found = {text(name) for name in await redis.keys("swell:*")}
    for bucket in buckets:
        found |= {each.key for each in await bucket.page("") if not each.key.startswith(".")}
    return found


async def test_everything_of_the_organisation_is_removed(
    redis: Redis,
    nats: Nats,
    buckets: tuple[S3Objects, S3Objects],
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A dry run counts the same. What others have stays as it was."""
    await fill(redis, nats, buckets, THEIRS, 2)
    before = await contents(redis, buckets)
    await fill(redis, nats, buckets, OURS, 1)
    everything = await contents(redis, buckets)

    await remove(settings, OURS, dry_run=True)
    counted = capsys.readouterr().out.splitlines()[-1]
    assert counted == ("1 credentials, 1 webhooks, 1 accounts, 1 keys, 1 sessions, 1 tokens, 1 builds, 1 scans, 0 kept")
    assert await contents(redis, buckets) == everything
    await remove(settings, OURS)
    assert capsys.readouterr().out.splitlines()[-1] == counted

    left = await contents(redis, buckets)
    # The state of the vault has no secret: what was requested with the credential is refused by it.
    assert left - before - {keys.ending(f"user-of-{OURS}")} == {keys.vault(organisation_owner(OURS))}
    assert before <= left
    assert b"secret" not in (await redis.get(keys.vault(organisation_owner(OURS))) or b"")
    names = await redis.hvals(keys.AUDIT_NAMES)
    assert names == [f"user-of-{THEIRS}".encode()]
    subjects = await nats.stream.stream_info("EVENTS", subjects_filter=">")
    published = subjects.state.subjects or {}
    assert {TokenRevoked.subject, KeyChanged.subject, VaultChanged.subject} <= set(published)

    await remove(settings, OURS)
    assert capsys.readouterr().out.splitlines()[-1].startswith("0 credentials, 0 webhooks, 0 accounts, 0 keys")


async def test_builds_that_run_or_that_others_need_stay(
    redis: Redis,
    nats: Nats,
    buckets: tuple[S3Objects, S3Objects],
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A build of equal inputs is one build: removing it would break the tokens of others."""
    shared = await fill(redis, nats, buckets, OURS, 1)
    grant = msgspec.json.decode(await redis.get(keys.grant("token1")) or b"", type=Grant)
    other = msgspec.structs.replace(grant, token="other", organisation=THEIRS, user="x")
    await redis.set(keys.grant("other"), msgspec.json.encode(other))
    builds = RedisBuilds(redis)
    running, _ = await builds.submit(msgspec.structs.replace(recipe(7), organisation=OURS))

    await remove(settings, OURS)

    assert "0 builds" in capsys.readouterr().out and await redis.exists(keys.grant("other"))
    assert await builds.get(shared) and await builds.get(running)
    assert await buckets[0].get(f"{shared}.log") == b"log"
    assert not await redis.exists(keys.session(id_of("session1")))
