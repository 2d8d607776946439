"""Everything that a stack has stored, said or sent, to search it for secrets."""

import asyncio
import base64
import gzip
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from minio import Minio

from swell.store.connections import redis
from swell_embedded.stack import Stack

OWN_FILES = frozenset({"secrets.json"})
"""The embedded stack's own secrets. `OWN_FOLDERS` have the configurations of its backends and the operator's logins."""
OWN_FOLDERS = frozenset({"config", "auth"})

Place = tuple[str, bytes]
"""A name, and what is stored there."""


def forms_of(secret: str) -> set[bytes]:
    """*secret* as it may be stored: as it is, in a URL, and in base64 at each of three positions."""
    content = secret.encode()
    forms = {content, quote(secret, safe="").encode()}
    for skipped in range(3):
        encoded = base64.b64encode(b"\0" * skipped + content)
        first, last = (0, 2, 3)[skipped], len(encoded) // 4 * 4 - 4
        forms |= {encoded[first:last], base64.b64encode(b"\0" * skipped + content, b"-_")[first:last]}
    return forms


def found_in(places: Iterator[Place] | list[Place], secrets: Mapping[str, str]) -> list[str]:
    """Return `<secret> in <place>` for each name of *secrets* whose value is in one of *places*."""
    forms = {name: forms_of(secret) for name, secret in secrets.items()}
    assert all(len(form) >= 8 for each in forms.values() for form in each), "a short form is found by accident"
    return [
        f"{name} in {place}"
        for place, content in places
        for name, each in forms.items()
        if any(form in content for form in each)
    ]


def in_files(home: Path) -> Iterator[Place]:
    """The files of the backends, of the services, and of their logs; compressed ones also as they were."""
    for path in sorted(home.rglob("*")):
        if (
            path.is_file()
            and not path.is_symlink()
            and path.name not in OWN_FILES
            and OWN_FOLDERS.isdisjoint(path.parts)
        ):
            try:
                content = path.read_bytes()
            except OSError:  # a process has removed it
                continue
            yield str(path.relative_to(home)), content + _unpacked(content)


async def in_redis(stack: Stack) -> AsyncIterator[Place]:
    """Each key with its value; the file of Redis is compressed."""
    async with redis.connect(stack.env["SWELL_REDIS_URL"]) as state:
        async for key in state.scan_iter(count=1000):
            value: object
            match await state.type(key):
                case b"string":
                    value = await state.get(key)
                case b"hash":
                    value = await state.hgetall(key)
                case b"set":
                    value = await state.smembers(key)
                case b"zset":
                    value = await state.zrange(key, 0, -1)
                case _:
                    value = await state.lrange(key, 0, -1)
            yield f"redis {key!r}", key + b"\0" + _flat(value)


async def in_s3(stack: Stack) -> list[Place]:
    """Each object; the files of the object store may be compressed."""
    return await asyncio.to_thread(_objects, stack.env)


def _objects(environment: Mapping[str, str]) -> list[Place]:
    scheme, _, address = environment["SWELL_S3_ENDPOINT"].partition("://")
    keys = environment["SWELL_S3_ACCESS_KEY"], environment["SWELL_S3_SECRET_KEY"]
    client, places = Minio(address or scheme, *keys, secure=scheme == "https", region="us-east-1"), list[Place]()
    for bucket in client.list_buckets():
        for each in client.list_objects(bucket.name, recursive=True):
            response = client.get_object(bucket.name, each.object_name or "")
            with response:
                content = response.read()
            places.append((f"s3 {bucket.name}/{each.object_name}", content + _unpacked(content)))
    return places


def _unpacked(content: bytes) -> bytes:
    """What *content* was before gzip; empty if it is something else."""
    if content[:2] != b"\x1f\x8b":
        return b""
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error):
        return b""


def _flat(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict):
        return b"\0".join(_flat(part) for pair in value.items() for part in pair)
    if isinstance(value, set | list | tuple):
        return b"\0".join(map(_flat, value))
    return str(value).encode()
