"""The steps of a backup, of its verification, and of a restore."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from redis.asyncio import Redis

from swell.backup import images, objects, state, streams
from swell.backup.folder import FORMAT, BackupFolder, BackupInvalid, Contents, RecordWriter
from swell.backup.images import ImageRecord
from swell.backup.objects import LAYERS, LOGS, REPORTS, ObjectRecord
from swell.backup.rights import Withheld
from swell.backup.settings import Settings
from swell.backup.state import StateRecord
from swell.backup.streams import StreamRecord
from swell.concurrency.at_once import at_once
from swell.errors import BadRequest
from swell.jobs import streams as nats_streams
from swell.jobs.streams import Nats
from swell.net.outbound import Policy, open_session
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.principal import OPERATOR, CredentialRules
from swell.store import s3_objects as object_store
from swell.store.connections import redis as redis_store
from swell.store.s3_objects import S3Objects

STATE, STREAMS, OBJECTS, IMAGES = PARTS = ("state", "streams", "objects", "images")
_NAMES = {STATE: "records of Redis", STREAMS: "streams of NATS", OBJECTS: "objects", IMAGES: "images"}


class Backends(NamedTuple):
    redis: Redis
    nats: Nats
    buckets: Mapping[str, S3Objects]
    registry: RegistryClient
    own: CredentialRules


async def create(settings: Settings, path: Path, parts: Sequence[str] = PARTS) -> None:
    """Make a backup of *parts* in the new folder *path*.

    Raises:
        BadRequest: the folder is not empty.
        Unavailable, UpstreamFailed, Denied: a backend does not answer; the folder is then no complete backup.
    """
    folder, counts, started = BackupFolder(path), dict[str, int](), datetime.now(UTC)
    folder.create()
    async with open_backends(settings) as backends:
        for part in (each for each in PARTS if each in parts):
            with folder.writing(part) as writer:
                await _dump(part, backends, folder, writer)
            counts[part] = writer.count
            _say(f"{writer.count} {_NAMES[part]}")
    folder.finish(
        Contents(
            format=FORMAT,
            swell=version("swell"),
            created=started,
            parts=tuple(counts),
            files=folder.digests(counts),
            counts=counts,
        )
    )
    _say(f"the backup in {path} is complete")


async def _dump(part: str, backends: Backends, folder: BackupFolder, writer: RecordWriter) -> None:
    if part == STATE:
        await state.dump(backends.redis, writer)
    elif part == STREAMS:
        await streams.dump(backends.nats, folder, writer)
    elif part == OBJECTS:
        await objects.dump(backends.buckets, folder, writer)
    else:
        missing = 0
        async for image in images.names(backends.redis, backends.own):
            missing += not await images.dump(backends.registry, image, folder, writer)
        if missing:
            _say(f"{missing} images have a record, and are not in the registry")


def verify(path: Path) -> Contents:
    """Check all files of the backup in *path*; raises `BackupInvalid`."""
    folder = BackupFolder(path)
    contents = folder.verify()
    if STREAMS in contents.parts:
        for stream in folder.records(STREAMS, StreamRecord):
            folder.require(stream.digest, stream.size)
    if OBJECTS in contents.parts:
        for stored in folder.records(OBJECTS, ObjectRecord):
            folder.require(stored.digest, stored.size)
    if IMAGES in contents.parts:
        for image in folder.records(IMAGES, ImageRecord):
            for digest, size in image.blobs:
                folder.require(digest, size)
            for document in image.documents:
                if not folder.blob(document.digest).is_file():
                    raise BackupInvalid(f"the document {document.digest} of {image.name} is missing")
    counts = ", ".join(f"{count} {_NAMES[part]}" for part, count in contents.counts.items())
    _say(f"{contents.created:%Y-%m-%d %H:%M} UTC, Swell {contents.swell}: {counts}")
    return contents


async def restore(
    settings: Settings,
    path: Path,
    parts: Sequence[str] = PARTS,
    *,
    overwrite: bool = False,
    kept: Sequence[str] = (),
) -> None:
    """Write *parts* of the backup in *path* into the backends: first what others refer to, at last the records.

    Rights, which may have been revoked since, are left out, except those in *kept*: `TOKENS`, `KEYS`.

    Raises:
        BackupInvalid: the backup is damaged, or of a newer version; nothing was changed.
        BadRequest: a backend is not empty, and *overwrite* is not set; nothing was changed.
        Unavailable, UpstreamFailed, Denied: a backend does not answer; repeat with *overwrite*.
    """
    contents, folder = verify(path), BackupFolder(path)
    if _number(contents.swell) > _number(version("swell")):
        raise BackupInvalid(f"the backup was made by Swell {contents.swell}, which is newer than this version")
    if absent := [part for part in parts if part not in contents.parts]:
        raise BackupInvalid(f"the backup has no {absent[0]}; select others with --parts")
    withheld = Withheld(kept)
    async with open_backends(settings) as backends:
        if not overwrite and (busy := [each for part in parts for each in await _not_empty(part, backends, folder)]):
            raise BadRequest(f"{', '.join(busy)} would be overwritten; use --overwrite, or empty backends")
        for part in (each for each in reversed(PARTS) if each in parts):
            await _load(part, backends, folder, withheld)
            _say(f"{contents.counts[part]} {_NAMES[part]}")
    _say("the backup is restored")
    if counts := ", ".join(f"{count} {kind}" for kind, count in withheld.counts.items() if count):
        _say(f"not restored, because they may have been revoked since {contents.created:%Y-%m-%d %H:%M} UTC: {counts}")


async def _not_empty(part: str, backends: Backends, folder: BackupFolder) -> list[str]:
    """What a restore of *part* would overwrite."""
    if part == STATE:
        return [] if await state.is_empty(backends.redis) else ["Redis"]
    if part == STREAMS:
        return [f"the stream {name}" for name in await streams.not_empty(backends.nats)]
    if part == OBJECTS:
        return [f"the bucket for {name}" for name in await objects.not_empty(backends.buckets)]
    for image in folder.records(IMAGES, ImageRecord):
        if await images.differs(backends.registry, image):
            return [f"the image {image.name}"]
    return []


async def _load(part: str, backends: Backends, folder: BackupFolder, withheld: Withheld) -> None:
    if part == STATE:
        await state.load(backends.redis, withheld.without(folder.records(STATE, StateRecord)))
    elif part == STREAMS:
        for stream in folder.records(STREAMS, StreamRecord):
            await streams.load(backends.nats, folder, stream)
    elif part == OBJECTS:
        await _restore_objects(backends.buckets, folder)
    else:
        for image in folder.records(IMAGES, ImageRecord):
            await images.load(backends.registry, folder, image)


async def _restore_objects(buckets: Mapping[str, S3Objects], folder: BackupFolder) -> None:
    records = folder.records(OBJECTS, ObjectRecord)
    while batch := list(islice(records, 100)):
        await at_once(objects.AT_ONCE, (partial(objects.load, buckets, folder, record) for record in batch))


@asynccontextmanager
async def open_backends(settings: Settings) -> AsyncIterator[Backends]:
    """Connect to all backends, to the registry with the operator's credentials; missing buckets are created."""
    s3, ca_file = settings.s3, settings.ca_file
    file, own = settings.push_auth_file or settings.registry_auth_file, settings.credential_rules
    async with (
        redis_store.connect(settings.redis, ca_file) as redis,
        nats_streams.connect(settings.nats, "backup", ca_file) as nats,
        object_store.connect(s3, s3.logs_bucket, ca_file) as logs,
        object_store.connect(s3, s3.layers_bucket, ca_file) as layers,
        object_store.connect(s3, s3.reports_bucket, ca_file) as reports,
        open_session(Policy(settings.allowed_hosts), settings) as session,
    ):
        keyring = parse_auth_file(file.read_bytes(), own.may_push) if file else Keyring()
        registry = RegistryClient(
            session, keyring, settings.insecure_registries, actions="pull,push,delete", aws=AwsLogins(session, settings)
        )
        buckets = {LOGS: logs, LAYERS: layers, REPORTS: reports}
        yield Backends(redis, nats, buckets, registry.acting_for(OPERATOR), own)


def _number(text: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in text.split(".")[:2])


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
