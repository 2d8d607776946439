"""Checking that an image is made for the platforms that a request names, before a token is given for it."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct, field

from registry_proxy.domain.augment import MAX_DEPTH, spelt, subject
from swell.errors import BadRequest, BlobUnknown, ManifestInvalid, ManifestUnknown, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document
from swell.oci.media_types import CONFIGS
from swell.oci.platform import Platform
from swell.oci.reference import Reference

SECONDS = 10
DOCUMENTS = 32
"""How many manifests and configs are read for one image at most."""


class Upstream(Protocol):
    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...


class _Found(Struct):
    """What an image offers: `platforms` as index entries and configs write them; some may be `unknown`."""

    platforms: list[dict[str, object]] = field(default_factory=list)
    unknown: bool = False
    read: int = 0


async def check_platforms(
    upstream: Upstream, image: Reference, document: Document, platforms: Sequence[Platform]
) -> None:
    """See that *document*, which *image* names, is an image for each of *platforms*, or an index that leads to one.

    What cannot be found out within ten seconds and 32 documents passes: the pull shows it.

    Raises:
        BadRequest: it is not; the message names the platforms that exist.
    """
    found = _Found()
    try:
        async with asyncio.timeout(SECONDS):
            await _find(upstream, image, document, platforms, found)
    except (ManifestUnknown, BlobUnknown, ManifestInvalid, UpstreamFailed, TooManyRequests, TimeoutError) as error:
        log.info("platforms not checked", image=str(image), error=str(error))
        found.unknown = True
    missing = _missing(found, platforms)
    if missing and not found.unknown:
        offered = ", ".join(sorted(set(map(spelt, found.platforms)))) or "no platform at all"
        raise BadRequest(f"{image} is not made for {' and '.join(map(str, missing))}, but for {offered}")


async def _find(
    upstream: Upstream,
    image: Reference,
    document: Document,
    platforms: Sequence[Platform],
    found: _Found,
    depth: int = 0,
) -> None:
    if not document.is_index:
        await _find_in_config(upstream, image, document, found)
        return
    entries = document.manifests
    found.platforms += [dict(entry.platform) for entry in entries if entry.platform and not _is_attestation(entry)]
    for entry in _untold(entries):
        if not _missing(found, platforms):
            return
        if found.read >= DOCUMENTS or depth >= MAX_DEPTH:
            found.unknown = True
            return
        found.read += 1
        child = await upstream.fetch_manifest(image.at(entry.digest))
        await _find(upstream, image, child, platforms, found, depth + 1)


async def _find_in_config(upstream: Upstream, image: Reference, manifest: Document, found: _Found) -> None:
    """Only the config of a single image says what it is made for; charts and other artifacts are for any platform."""
    if not manifest.is_manifest or manifest.config.media_type not in CONFIGS:
        found.unknown = True
        return
    config = await upstream.fetch_config(image, manifest.config)
    if config.fields.get("os") and config.fields.get("architecture"):
        found.platforms.append({name: config.fields.get(name) for name in ("os", "architecture", "variant")})
    else:
        found.unknown = True


def _untold(entries: Iterable[Descriptor]) -> list[Descriptor]:
    """Those of *entries* of whose platforms the index says nothing: nested indexes, mostly."""
    return [entry for entry in entries if not (entry.platform or _is_attestation(entry))]


def _is_attestation(entry: Descriptor) -> bool:
    return subject(entry) is not None or (entry.platform or {}).get("os") == "unknown"


def _missing(found: _Found, platforms: Sequence[Platform]) -> list[Platform]:
    return [platform for platform in platforms if platform.best(found.platforms) is None]
