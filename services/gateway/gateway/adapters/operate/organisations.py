"""The data of an organisation, in Redis and in the object store."""

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from gateway.adapters.access.issued_keys import RedisKeys
from gateway.adapters.access.stored_accounts import RedisAccounts
from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.adapters.builds.events import RevocationEvents
from gateway.adapters.notices.preferences import RedisPreferences
from gateway.domain.access.vault import organisation_owner
from gateway.operate.organisations import Found
from swell.store import keys
from swell.store.connections.redis import text, translated
from swell.store.reports import SCANS
from swell.store.s3_objects import S3Objects

SCANNED = 1000  # keys at a time
MAX_NEEDED = 500_000  # builds
_GRANT, _KEY, _SESSION, _ACCOUNT = keys.grant(""), keys.api_key(""), keys.session(""), keys.account("")
_BUILD, _SCAN = f"{keys.BUILD}:", f"{keys.SCAN}:"
_BUILD_PARTS = (
    keys.SUBMISSION,
    keys.RESULT,
    keys.CANCELLED,
    keys.ATTEMPTS,
    keys.INTEREST,
    keys.PARENTS,
    keys.BEFORE,
    keys.LEASE,
    "scans",
    keys.SIGNING,
    keys.LISTING,
)


class _Record(Struct, frozen=True):
    """The members that say whose a record is."""

    organisation: str = ""
    user: str = ""
    build_id: str | None = None
    target_image: str = ""
    series: str = ""


class _Session(Struct):
    identity: _Record = _Record()


class StoredOrganisations:
    """Raises `Unavailable` when a backend does not answer."""

    def __init__(self, redis: Redis, events: RevocationEvents, logs: S3Objects, reports: S3Objects) -> None:
        self._redis = redis
        self._events = events
        self._accounts = RedisAccounts(redis)
        self._keys = RedisKeys(redis)
        self._pseudonyms = Pseudonyms(redis)
        self._logs = logs
        self._reports = reports

    async def needed_by_others(self, organisation: str) -> frozenset[str]:
        """Return the builds that tokens of others name, at most 500,000 of them."""
        needed, cursor = set[str](), 0
        while True:
            with translated():
                cursor, names = await self._redis.scan(cursor, match=f"{_GRANT}*", count=SCANNED)
            for _, grant in await self._records(map(text, names)):
                if grant.build_id and grant.organisation != organisation:
                    needed.add(grant.build_id)
            if not cursor or len(needed) >= MAX_NEEDED:
                return frozenset(needed)

    async def scan(self, organisation: str, needed: frozenset[str], cursor: str) -> tuple[Found, str | None]:
        """Return what some records say, and the cursor of the next ones; the first cursor is `0`."""
        with translated():
            position, names = await self._redis.scan(int(cursor), match="swell:*", count=SCANNED)
        chosen = [name for name in map(text, names) if _names_owner(name)]
        mine = [(name, record) for name, record in await self._records(chosen) if record.organisation == organisation]
        found = Found(
            tokens=[name.removeprefix(_GRANT) for name, _ in mine if name.startswith(_GRANT)],
            accounts=[name.removeprefix(_ACCOUNT) for name, _ in mine if name.startswith(_ACCOUNT)],
            keys=[name.removeprefix(_KEY) for name, _ in mine if name.startswith(_KEY)],
            sessions=[(name.removeprefix(_SESSION), who.user) for name, who in mine if name.startswith(_SESSION)],
            scans=[_id_in(name) for name, _ in mine if name.startswith(_SCAN)],
            users=frozenset(record.user for _, record in mine if record.user),
        )
        builds, kept = list[str](), list[str]()
        for build_id in (_id_in(name) for name, _ in mine if name.startswith(_BUILD)):
            with translated():
                has_ended = await self._redis.exists(keys.build(build_id, keys.RESULT))
            (builds if has_ended and build_id not in needed else kept).append(build_id)
        return msgspec.structs.replace(found, builds=builds, kept=kept), str(position) if position else None

    async def _records(self, names: Iterable[str]) -> list[tuple[str, _Record]]:
        chosen = list(names)
        with translated():
            values = await self._redis.mget(chosen) if chosen else []
        return [(name, _decoded(name, value)) for name, value in zip(chosen, values, strict=True) if value]

    async def webhooks(self, organisation: str, *, deletes: bool) -> int:
        """Count, and with *deletes* remove, the webhooks with their secrets."""
        owner = organisation_owner(organisation)
        with translated():
            names = [text(name) for name in await self._redis.hkeys(keys.webhooks(owner))]
            if deletes and names:
                secrets = [keys.encrypted(f"webhook:{owner}:{name}") for name in names]
                await self._redis.delete(keys.webhooks(owner), *secrets)
        return len(names)

    async def remove_account(self, name: str) -> None:
        """Delete an account; no key of its user can be added meanwhile."""
        await self._accounts.remove(name)
        await self._keys.begin_ending(name)

    async def remove_key(self, key_id: str) -> None:
        """Delete an API key, and publish that to all gateways."""
        if key := await self._keys.get(key_id):
            await self._keys.remove(key)
            await self._events.key_changed(key_id, revoked=True)

    async def end_session(self, session_id: str, user: str) -> None:
        with translated():
            await self._redis.delete(keys.session(session_id))
            await self._redis.zrem(keys.sessions_of(user), session_id)

    async def remove_request(self, token: str) -> None:
        with translated():
            await self._redis.delete(keys.request(token), keys.leases(token), keys.readers(token))
            await self._redis.zrem(keys.LEASED_RUNS, token)

    async def remove_build(self, build_id: str) -> None:
        """Delete the logs, and then the record, by which a further call would find them."""
        await _remove(self._logs, f"{build_id}.")
        with translated():
            content = await self._redis.get(keys.build(build_id, keys.SUBMISSION))
            names = [keys.readers(build_id), *(keys.build(build_id, part) for part in _BUILD_PARTS)]
            if content:
                record = msgspec.json.decode(content, type=_Record)
                newest = [keys.latest_build(record.target_image), keys.series(record.series)]
                ids = await self._redis.mget(newest)
                names += [name for name, each in zip(newest, ids, strict=True) if text(each or "") == build_id]
            await self._redis.delete(*names)

    async def remove_scan(self, scan_id: str) -> None:
        """Delete the reports, and then the record."""
        for end in ("/", "."):
            await _remove(self._reports, f"{SCANS}{scan_id}{end}")
        with translated():
            parts = (keys.SUBMISSION, keys.RESULT, "lease")
            await self._redis.delete(keys.readers(scan_id), *(keys.scan(scan_id, part) for part in parts))
            await self._redis.zrem(keys.SCANS_MATCHED, scan_id)
            await self._redis.zrem(keys.SCANS_UNFINISHED, scan_id)

    async def forget_user(self, user: str) -> None:
        """Remove the name of *user* from the audit trail: its events stay, under a pseudonym."""
        await self._pseudonyms.remove(user)
        await RedisPreferences(self._redis).put(user, None)


async def _remove(objects: S3Objects, prefix: str) -> None:
    while page := await objects.page(prefix):
        for each in page:
            await objects.delete(each.key)


def _names_owner(name: str) -> bool:
    if name.startswith((_GRANT, _KEY, _SESSION, _ACCOUNT)):
        return True
    return name.startswith((_BUILD, _SCAN)) and name.endswith(f":{keys.SUBMISSION}")


def _id_in(name: str) -> str:
    return name.split(":")[2]


def _decoded(name: str, value: Any) -> _Record:
    try:
        if name.startswith(_SESSION):
            return msgspec.json.decode(value, type=_Session).identity
        return msgspec.json.decode(value, type=_Record)
    except msgspec.MsgspecError:
        return _Record()
