"""Write records of Wave into Redis. What Swell has under the same id stays, so an import can be repeated."""

import gzip
import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, cast

import msgspec
from msgspec import Struct
from redis.asyncio import Redis

from gateway.wave_import import records
from gateway.wave_import.copy_text import Skipped, rows
from gateway.wave_import.records import RecordInvalid
from swell.api.containers import ContainerRecord
from swell.errors import BadRequest
from swell.log import log
from swell.store import keys
from swell.store.connections import redis
from swell.store.connections.redis import translated
from swell.store.connections.settings import RedisSettings
from swell.store.records import Build
from swell.store.scans import Scan

TABLES: dict[str, Callable[[str, bytes, datetime], Build | Scan | ContainerRecord]] = {
    "wave_build": records.build_of,
    "wave_mirror": records.mirror_of,
    "wave_scan": records.scan_of,
    "wave_request": records.request_of,
}
_ID_COLUMNS = ("id", "build_id", "request_id", "scan_id", "mirror_id")

# KEYS: submission, result, index of the image. ARGV: submission, result, life (s), build id, container id,
# number ('' for a mirror), time of the build. Returns 1 for a new record. The index names the latest build of an image.
_PUT_BUILD = f"""{keys.LUA}
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[3]) then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'NX', 'EX', ARGV[3])
if ARGV[6] ~= '' and tonumber(ARGV[6]) > tonumber(redis.call('HGET', COUNTERS, ARGV[5]) or '-1') then
    redis.call('HSET', COUNTERS, ARGV[5], ARGV[6])
end
local current = redis.call('GET', KEYS[3])
local known = current and redis.call('GET', build_key(current, SUBMISSION))
if not known or cjson.decode(known).created < ARGV[7] then redis.call('SET', KEYS[3], ARGV[4], 'EX', ARGV[3]) end
return 1
"""


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the command; each field is read from SWELL_<FIELD>. Records are kept for `record_ttl` from now."""

    redis: RedisSettings
    ca_file: Path | None = None
    record_ttl: timedelta = timedelta(days=90)
    log_level: str = "WARNING"


class Importer:
    def __init__(self, state: Redis, life: timedelta) -> None:
        self._redis = state
        self._life = int(life.total_seconds())
        self._put_build = state.register_script(_PUT_BUILD)

    async def put(self, record: Build | Scan | ContainerRecord) -> bool:
        """Store *record*; False if there is one with its id. Raises `Unavailable`."""
        with translated():
            match record:
                case Build():
                    return await self._build(record)
                case Scan():
                    return await self._scan(record)
                case _:
                    name, content = keys.request(record.id), msgspec.json.encode(record)
                    return bool(await self._redis.set(name, content, nx=True, ex=self._life))

    async def _build(self, build: Build) -> bool:
        submission, number = build.submission, build.id.rpartition("_")[2]
        names = [
            keys.build(build.id, keys.SUBMISSION),
            keys.build(build.id, keys.RESULT),
            keys.latest_build(submission.target_image),
        ]
        arguments: list[bytes | str | int] = [
            msgspec.json.encode(submission),
            msgspec.json.encode(build.result),
            self._life,
            build.id,
            submission.container_id,
            "" if build.id == submission.container_id else number,
            msgspec.to_builtins(submission.created),
        ]
        return bool(await self._put_build(names, arguments))

    async def _scan(self, scan: Scan) -> bool:
        content = msgspec.json.encode(scan.submission)
        if not await self._redis.set(keys.scan(scan.id, keys.SUBMISSION), content, nx=True, ex=self._life):
            return False
        if scan.result:
            result = msgspec.json.encode(scan.result)
            await self._redis.set(keys.scan(scan.id, keys.RESULT), result, nx=True, ex=self._life)
        return True


async def load(settings: Settings, dump: Path, *, dry_run: bool = False) -> None:
    """Import the records in *dump*, and print how many there were of each table.

    Rows that cannot be read are counted, and their ids are logged.

    Raises:
        BadRequest: the dump has none of the tables, is in another format, or breaks off.
        Unavailable: Redis does not answer; the import can be repeated.
    """
    counts: Counter[str] = Counter()
    async with redis.connect(settings.redis, settings.ca_file) as state:
        importer = Importer(state, settings.record_ttl)
        with _opened(dump) as file:
            for row in rows(file, frozenset(TABLES)):
                if isinstance(row, Skipped):
                    counts[f"{row.table} unreadable"] += 1
                    continue
                try:
                    record = record_of(row.table, row.values)
                except RecordInvalid as error:
                    counts[f"{row.table} unreadable"] += 1
                    row_id = repr(row.values.get("id"))[:100]
                    log.warning("record of Wave not imported", table=row.table, id=row_id, error=str(error))
                    continue
                is_new = dry_run or await importer.put(record)
                counts[f"{row.table} {'imported' if is_new else 'known already'}"] += 1
    if not counts:
        raise BadRequest(f"{dump} has no rows of {', '.join(TABLES)}: make it with pg_dump, without --inserts")
    for name, count in sorted(counts.items()):
        sys.stdout.write(f"{name}: {count}{' (dry run)' if dry_run else ''}\n")


def record_of(table: str, values: dict[str, bytes | None]) -> Build | Scan | ContainerRecord:
    """The record of a row; raises `RecordInvalid`. Columns other than the id, the time and the data are ignored."""
    name, data = next((values[each] for each in _ID_COLUMNS if values.get(each)), None), values.get("data")
    if not name or not data:
        raise RecordInvalid("the row has no id or no data")
    try:
        return TABLES[table](name.decode("utf-8", "replace"), data, _instant(values.get("created_at")))
    except (OverflowError, RecursionError) as error:
        raise RecordInvalid("a time is out of range, or the data is nested too deeply") from error


def _instant(value: bytes | None) -> datetime:
    """A time as PostgreSQL writes it (`2026-03-01 09:32:10.5+00`); that of the import if it is missing."""
    try:
        time = datetime.fromisoformat((value or b"").decode())
    except ValueError:
        return datetime.now(UTC)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _opened(dump: Path) -> BinaryIO:
    try:
        return cast(BinaryIO, gzip.open(dump, "rb")) if dump.suffix == ".gz" else dump.open("rb")
    except OSError as error:
        raise BadRequest(f"{dump} cannot be read: {error.strerror}") from error
