"""List the packages of images: each image once, because its SBOM is stored by repository and digest."""

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from scanner.tools.protocol import Sboms, ScanTool
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.registry.credentials.principal import Principal


class PlatformImage(Struct, frozen=True):
    """The image of one platform; `reference` has its digest."""

    platform: str
    reference: Reference
    manifest: Document


class Images(Protocol):
    """Reads images with the credentials of a principal.

    Raises:
        ScanFailure: the image is missing, refused, too large, or not an image.
        Unavailable: its registry fails at the moment.
    """

    async def images(self, image: Reference, platforms: Sequence[str], principal: Principal) -> list[PlatformImage]:
        """Return the images of *platforms*, or of all platforms of an index if empty; each digest once."""

    def layout(self, image: PlatformImage, principal: Principal) -> AbstractAsyncContextManager[Path]:
        """Download an image; yield the folder of an OCI image layout with it alone, or of a SIF file; all verified."""


class StoredSboms(Protocol):
    async def sbom(self, repository: str, manifest: Digest) -> bytes | None:
        """Return the stored SBOM in the tool's format; None when it is missing."""

    async def put_sboms(self, repository: str, manifest: Digest, sboms: Sboms) -> None: ...


class Catalogued(Struct, frozen=True):
    """The SBOM of an image in the tool's format, and the number of its packages; `is_new` if it was made now."""

    sbom: bytes
    packages: int
    is_new: bool


class Catalogue:
    """Makes SBOMs with *tool*.

    Raises:
        ScanFailure: the image cannot be read, or the tool fails.
        Unavailable: a backend or the image's registry is unavailable.
    """

    def __init__(self, tool: ScanTool, images: Images, sboms: StoredSboms) -> None:
        self._tool = tool
        self._images = images
        self._sboms = sboms

    async def images(self, image: Reference, platforms: Sequence[str], principal: Principal) -> list[PlatformImage]:
        return await self._images.images(image, platforms, principal)

    async def sbom(self, image: PlatformImage, principal: Principal) -> Catalogued:
        """Return the stored SBOM of *image*; if it is missing, make it and store it."""
        digest, repository = image.manifest.digest, image.reference.name
        if (stored := await self._sboms.sbom(repository, digest)) is not None:
            return Catalogued(stored, await asyncio.to_thread(self._tool.count_packages, stored), is_new=False)
        async with self._images.layout(image, principal) as layout:
            sboms = await self._tool.catalogue(layout, digest)
        await self._sboms.put_sboms(repository, digest, sboms)
        return Catalogued(sboms.native, sboms.packages, is_new=True)
