"""The SBOM of a build: signed, or as it is known before a signature."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec

from gateway.builds.queries import missing_statement
from swell.errors import NotFound
from swell.naming.image_name import ORAS
from swell.oci.platform import parse_platform
from swell.oci.reference import parse_reference
from swell.provenance import Provenance, parse_provenance
from swell.signing.predicates import spdx
from swell.store.attestations import Attestation
from swell.store.builds import Builds
from swell.store.records import Build, BuildResult, Child, Listing, ListingState
from swell.store.reports import SbomFormat, sbom_key

MOST_LOCK = 8 << 20
"""Bytes of a lock file of which the SBOM is made."""
NO_SCANNER = (
    "its packages are in no lock file, and this server has no scanner that lists them: its operator installs one with "
    "`make scanners` and starts the scanner service again"
)
SOON = "the scanner lists its packages shortly after its end, unless they are in a lock file"


class Statements(Protocol):
    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        """The signed statement about a build, or its unsigned provenance; None when it is not stored."""

    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The lock file of a build of packages; None when it has none."""


class Reports(Protocol):
    async def open(self, key: str) -> AsyncIterator[bytes] | None:
        """The object in pieces; None when it is missing."""


class Scanners(Protocol):
    async def are_running(self) -> bool: ...


class SbomQueries:
    def __init__(self, builds: Builds, statements: Statements, reports: Reports, scanners: Scanners) -> None:
        self._builds = builds
        self._statements = statements
        self._reports = reports
        self._scanners = scanners

    async def sbom(self, build_id: str, platform: str | None) -> AsyncIterator[bytes]:
        """The SBOM of the image of a build, or of one of its platforms, as JSON.

        A sigstore bundle when the image is signed. Before, the SPDX document of the lock file, or of the scanner.
        Without *platform*, a build of several platforms lists them.

        Raises:
            NotFound: the build or the platform is unknown, or the packages are not known (yet).
            BadRequest: *platform* is malformed.
        """
        build = await self._builds.get(build_id)
        if build is None or build.submission.mirror:
            raise NotFound(f"no build {build_id}")
        if children := build.submission.children:
            if platform is None:
                return _one(_listed(build, children))
            build = await self._child(build, platform)
        elif platform and parse_platform(platform) != parse_platform(build.submission.platform):
            raise NotFound(f"the build {build_id} is for {build.submission.platform}")
        return await self._of_image(build)

    async def _child(self, build: Build, platform: str) -> Build:
        wanted = parse_platform(platform)
        for child in build.submission.children:
            if parse_platform(child.platform) == wanted:
                # The image of a child without a build existed already.
                made = await (
                    self._builds.get(child.build_id) if child.build_id else self._builds.latest(child.target_image)
                )
                if made is None:
                    raise NotFound(f"the record of the build of {child.target_image} has expired")
                return made
        names = ", ".join(child.platform for child in build.submission.children)
        raise NotFound(f"the build {build.id} is for {names}")

    async def _of_image(self, build: Build) -> AsyncIterator[bytes]:
        if (signed := await self._statements.attestation(build.id, Attestation.SBOM)) is not None:
            return _one(signed)
        if build.result is None or not build.result.succeeded or build.result.digest is None:
            raise NotFound(f"the build {build.id} has no image, so it has no SBOM")
        if (known := await self._of_lock(build, build.result)) is not None:
            return _one(known)
        repository = parse_reference(build.submission.target_image.removeprefix(ORAS)).name
        stored = await self._reports.open(sbom_key(repository, build.result.digest, SbomFormat.SPDX))
        if stored is not None:
            return stored
        if (listing := await self._builds.listing(build.id)) is not None:
            raise NotFound(f"the build {build.id} has no SBOM{missing_list(listing)}")
        reason = missing_statement(await self._builds.signing(build.id))
        if not reason:
            reason = SOON if await self._scanners.are_running() else NO_SCANNER
        raise NotFound(f"the build {build.id} has no sbom: {reason}")

    async def _of_lock(self, build: Build, result: BuildResult) -> bytes | None:
        if (pieces := await self._statements.lock(build.id)) is None:
            return None
        lock = bytearray()
        async for piece in pieces:
            if len(lock) < MOST_LOCK:
                lock += piece
        content = await self._statements.attestation(build.id, Attestation.PROVENANCE)
        facts = parse_provenance(content) if content else None  # a signed one has no licences of packages
        return await asyncio.to_thread(_document, build, result, bytes(lock[:MOST_LOCK]), facts)


def missing_list(listing: Listing) -> str:
    """The end of a sentence about the packages of an image that could not be listed."""
    if listing.state is ListingState.RETRYING:
        return (
            f" yet: attempt {listing.attempts} to list its packages failed, and another one follows: {listing.reason}"
        )
    return f": its packages could not be listed, after {listing.attempts} attempts: {listing.reason}"


def _document(build: Build, result: BuildResult, lock: bytes, facts: Provenance | None) -> bytes | None:
    assert result.digest is not None  # noqa: S101  (checked by the caller)
    name, text = build.submission.target_image, lock.decode(errors="replace")
    document = spdx(name, result.digest, result.finished, text, facts)
    return msgspec.json.encode(document) if document else None


def _listed(build: Build, children: tuple[Child, ...]) -> bytes:
    platforms = [
        {"platform": child.platform, "image": child.target_image.removeprefix(ORAS), "buildId": child.build_id}
        for child in children
    ]
    return msgspec.json.encode({"buildId": build.id, "platforms": platforms})


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content
