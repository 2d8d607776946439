"""Read blobs of images from registries. A large blob is continued at the same byte after a broken connection.

Source: OCI distribution-spec, "Pulling blobs",
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from swell.errors import BlobUnknown, UpstreamFailed
from swell.log import log
from swell.net.outbound import follow, pieces, read
from swell.net.ranges import parse_content_range
from swell.oci.descriptor import Descriptor
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.responses import failure
from swell.registry.verifier import Verifier, verified

PAUSES = (0.1, 0.5, 2.0, 5.0, 10.0)  # seconds before each retry
PROGRESS = 1 << 20  # bytes since the last retry that reset the number of retries


async def fetch_blob(client: RegistryClient, repository: Reference, descriptor: Descriptor, limit: int) -> bytes:
    """Return the blob of *descriptor* in *repository*: at most *limit* bytes.

    Raises:
        BlobUnknown: the registry does not have it.
        Denied, UpstreamFailed: the registry refuses or fails, or sends more bytes or other ones.
    """
    async with await client.ask(follow, "GET", repository, f"blobs/{descriptor.digest}", {}) as response:
        if response.status != 200:
            raise failure(response.status, response.headers, f"a blob of '{repository.name}'", BlobUnknown)
        return verified(await read(response, limit), descriptor.digest)


async def download_blob(
    client: RegistryClient, repository: Reference, descriptor: Descriptor, path: Path, limit: int
) -> None:
    """Write the blob of *descriptor* in *repository*, of at most *limit* bytes, into the file *path*.

    Raises:
        BlobUnknown: the registry does not have it.
        Denied, TooManyRequests, UpstreamFailed: the registry refuses or fails, as for `read_blob`, or sends more bytes
            than declared, or other ones.
    """
    if descriptor.size > limit:
        raise UpstreamFailed(f"a blob of '{repository.name}' has {descriptor.size} bytes; the limit is {limit}")
    verifier = Verifier(descriptor.digest, descriptor.size)
    with path.open("wb") as file:
        async with aclosing(read_blob(client, repository, descriptor)) as source:
            async for piece in source:
                await asyncio.to_thread(verifier.update, piece)
                file.write(piece)
    verifier.finish()


async def read_blob(
    client: RegistryClient, repository: Reference, blob: Descriptor, start: int = 0
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of *blob* from *start*, in pieces of about 1 MiB; their digest is not verified.

    Raises:
        BlobUnknown: *repository* does not have the blob.
        Denied, TooManyRequests, UpstreamFailed: the registry refuses, or fails five times within one MiB.
    """
    at, last, pauses = start, start, iter(PAUSES)
    while at < blob.size:
        try:
            async with aclosing(_open(client, repository, blob, at)) as source:
                async for piece in source:
                    at += len(piece)
                    yield piece
            if at < blob.size:
                raise UpstreamFailed(f"{repository.registry} sends {at} bytes of {blob.digest}, not {blob.size}")
        except UpstreamFailed as error:
            if at - last >= PROGRESS:
                pauses = iter(PAUSES)
            last, pause = at, next(pauses, None)
            if pause is None:
                raise
            log.info("blob read resumed", digest=blob.digest, at=at, size=blob.size, error=str(error))
            await asyncio.sleep(pause)


async def _open(
    client: RegistryClient, repository: Reference, blob: Descriptor, start: int
) -> AsyncGenerator[bytes, None]:
    headers = {"Accept": "*/*"} | ({"Range": f"bytes={start}-"} if start else {})
    response = await client.ask(follow, "GET", repository, f"blobs/{blob.digest}", headers)
    async with response:
        if response.status not in {200, 206}:
            subject = f"blob {blob.digest} of repository '{repository.name}'"
            raise failure(response.status, response.headers, subject, BlobUnknown)
        at = 0
        if response.status == 206:
            span = parse_content_range(response.headers.get("Content-Range", ""))
            if span is None or span[0] != start:
                raise UpstreamFailed(f"{repository.registry} sends another range than the requested one")
            at = start
        async for piece in pieces(response):
            if wanted := piece[max(0, start - at) :]:  # some registries ignore `Range`
                yield wanted
            at += len(piece)
            if at > blob.size:
                raise UpstreamFailed(f"{repository.registry} sends more than {blob.size} bytes as {blob.digest}")
