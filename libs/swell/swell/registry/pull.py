"""Read blobs of images from registries; their bytes are verified.

Source: OCI distribution-spec, "Pulling blobs",
https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs
"""

import asyncio
from pathlib import Path

from swell.errors import BlobUnknown, UpstreamFailed
from swell.net.outbound import follow, pieces, read
from swell.oci.descriptor import Descriptor
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.responses import failure
from swell.registry.verifier import Verifier, verified


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
        Denied, UpstreamFailed: the registry refuses or fails, or sends more bytes than declared, or other ones.
    """
    if descriptor.size > limit:
        raise UpstreamFailed(f"a blob of '{repository.name}' has {descriptor.size} bytes; the limit is {limit}")
    async with await client.ask(follow, "GET", repository, f"blobs/{descriptor.digest}", {}) as response:
        if response.status != 200:
            raise failure(response.status, response.headers, f"a blob of '{repository.name}'", BlobUnknown)
        verifier = Verifier(descriptor.digest, descriptor.size)
        with path.open("wb") as file:
            async for piece in pieces(response):
                await asyncio.to_thread(verifier.update, piece)
                file.write(piece)
        verifier.finish()
