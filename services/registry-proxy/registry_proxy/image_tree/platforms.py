"""Check that an image has the requested platforms before a token for it is issued."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct, field

from registry_proxy.domain.index import MAX_DEPTH, spelt, subject
from swell.errors import BadRequest, BlobUnknown, ManifestInvalid, ManifestUnknown, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document
from swell.oci.media_types import CONFIGS
from swell.oci.platform import Platform
from swell.oci.reference import Reference

SECONDS = 10
MAX_DOCUMENTS = 32
"""The number of manifests and configs that are read for one image."""


class Upstream(Protocol):
    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...


class _Platforms(Struct):
    """An image's platforms, as index entries and configs write them; `unknown` if the list may be incomplete."""

    platforms: list[dict[str, object]] = field(default_factory=list)
    unknown: bool = False
    read: int = 0


async def check_platforms(
    upstream: Upstream, image: Reference, document: Document, platforms: Sequence[Platform]
) -> None:
    """Check that *document*, the manifest or index of *image*, has each of *platforms*.

    The check passes if ten seconds or 32 documents are not enough: then the pull reports the error.

    Raises:
        BadRequest: a platform is missing; the message lists the platforms of the image.
    """
    available = _Platforms()
    try:
        async with asyncio.timeout(SECONDS):
            await _collect(upstream, image, document, platforms, available)
    except (ManifestUnknown, BlobUnknown, ManifestInvalid, UpstreamFailed, TooManyRequests, TimeoutError) as error:
        log.info("platforms not checked", image=str(image), error=str(error))
        available.unknown = True
    missing = _missing(available, platforms)
    if missing and not available.unknown:
        offered = ", ".join(sorted(set(map(spelt, available.platforms)))) or "no platform"
        raise BadRequest(f"{image} is not made for {' and '.join(map(str, missing))}, but for {offered}")


async def _collect(
    upstream: Upstream,
    image: Reference,
    document: Document,
    platforms: Sequence[Platform],
    available: _Platforms,
    depth: int = 0,
) -> None:
    if not document.is_index:
        await _collect_from_config(upstream, image, document, available)
        return
    entries = document.manifests
    available.platforms += [dict(entry.platform) for entry in entries if entry.platform and not _is_attestation(entry)]
    for entry in _without_platform(entries):
        if not _missing(available, platforms):
            return
        if available.read >= MAX_DOCUMENTS or depth >= MAX_DEPTH:
            available.unknown = True
            return
        available.read += 1
        child = await upstream.fetch_manifest(image.at(entry.digest))
        await _collect(upstream, image, child, platforms, available, depth + 1)


async def _collect_from_config(upstream: Upstream, image: Reference, manifest: Document, available: _Platforms) -> None:
    """Add the platform in the config of a single image; charts and other artifacts have no platform."""
    if not manifest.is_manifest or manifest.config.media_type not in CONFIGS:
        available.unknown = True
        return
    config = await upstream.fetch_config(image, manifest.config)
    if config.fields.get("os") and config.fields.get("architecture"):
        available.platforms.append({name: config.fields.get(name) for name in ("os", "architecture", "variant")})
    else:
        available.unknown = True


def _without_platform(entries: Iterable[Descriptor]) -> list[Descriptor]:
    """Return the entries without a platform in the index: mostly nested indexes."""
    return [entry for entry in entries if not (entry.platform or _is_attestation(entry))]


def _is_attestation(entry: Descriptor) -> bool:
    return subject(entry) is not None or (entry.platform or {}).get("os") == "unknown"


def _missing(available: _Platforms, platforms: Sequence[Platform]) -> list[Platform]:
    return [platform for platform in platforms if platform.best(available.platforms) is None]
