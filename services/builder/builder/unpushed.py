"""Built images that their registry has not accepted yet, in the object store: any builder can push them.

`unpushed/<key>/` has the blobs of an image and, stored last, its manifest. A lifecycle rule removes them after a day.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

from builder.domain.time_limit import time_limit
from builder.engine import Recipe, WriteLine
from builder.sif.layout import open_plain
from builder.sif.rootfs import LayerInvalid
from swell.errors import BlobUnknown, ManifestInvalid, SwellError, Unavailable
from swell.log import log
from swell.oci.digest import Digest, hex_of
from swell.oci.document import Document, detect
from swell.oci.reference import parse_reference
from swell.registry.push import RegistryPush
from swell.store.blobs import Blobs
from swell.store.objects import Objects

PREFIX = "unpushed/"
DAYS = 1
_DOCUMENT_BYTES = 4 << 20


class UnpushedImages:
    """Stores and pushes such images; *folder* is for blobs while they are pushed, *limit* is the time of a build."""

    def __init__(self, objects: Objects, push: RegistryPush, folder: Path, limit: timedelta) -> None:
        self._objects = objects
        self._push = push
        self._folder = folder
        self._limit = limit

    async def store(self, recipe: Recipe, layout: Path) -> bool:
        """Store the single image in the OCI layout *layout*, as what *recipe* builds; false if that fails.

        Processes of the build can write to the layout. Its files are opened without following links, and the registry
        verifies the digests of what is pushed.
        """
        if not recipe.key:
            return False
        try:
            manifest = _manifest_of(layout)
            for descriptor in (manifest.config, *manifest.layers):
                with open_plain(layout / "blobs/sha256" / hex_of(descriptor.digest)) as file:
                    opened = Path(f"/proc/self/fd/{file.fileno()}")
                    await self._blobs(recipe.key).put_file(descriptor.digest, opened)
            await self._objects.put(_manifest_key(recipe.key), manifest.content)
        except (OSError, ValueError, LayerInvalid, SwellError) as error:
            log.warning("built image not stored", build_id=recipe.build_id, error=str(error))
            return False
        log.info("built image stored until it can be pushed", build_id=recipe.build_id)
        return True

    async def push(self, recipe: Recipe, write_line: WriteLine) -> Digest | None:
        """Push the stored image of *recipe*, and forget it; None if it is missing.

        Raises:
            BuildFailure: the registry refuses it, or fails until the time of a build is over.
        """
        try:
            if not recipe.key or not (content := await self._objects.get(_manifest_key(recipe.key))):
                return None
            manifest = detect(None, content)
        except (Unavailable, ManifestInvalid) as error:
            log.warning("built image not readable", build_id=recipe.build_id, error=str(error))
            return None
        await write_line(b"(the image is built already, and is pushed now)")
        async with time_limit(self._limit, write_line):
            try:
                digest = await self._push_image(recipe, manifest)
            except (BlobUnknown, Unavailable) as error:
                log.warning("built image not readable", build_id=recipe.build_id, error=str(error))
                return None
        await self.forget(recipe)
        return digest

    async def forget(self, recipe: Recipe) -> None:
        """Forget the image of *recipe*, which is pushed; its blobs expire."""
        try:
            await self._objects.put(_manifest_key(recipe.key), b"")
        except Unavailable as error:
            log.warning("built image not forgotten", build_id=recipe.build_id, error=str(error))

    async def _push_image(self, recipe: Recipe, manifest: Document) -> Digest:
        target, push = parse_reference(recipe.target_image), self._push.acting_for(recipe.push_principal)
        for descriptor in (manifest.config, *manifest.layers):
            if not await push.has_blob(target, descriptor.digest):
                async with self._blobs(recipe.key).download(descriptor.digest, self._folder) as path:
                    await push.blob(target, descriptor.digest, path)
        return await push.document(target, manifest)

    def _blobs(self, key: str) -> Blobs:
        return Blobs(self._objects, f"{PREFIX}{key}/")


class Keeping:
    """Keeps the image of one build for other builders while its push is repeated.

    *export* writes it into the OCI layout *layout*, once, and returns whether that is possible.
    """

    def __init__(
        self, recipe: Recipe, images: UnpushedImages | None, layout: Path, export: Callable[[], Awaitable[bool]]
    ) -> None:
        self._recipe = recipe
        self._images = images
        self._layout = layout
        self._export = export
        self._is_exported: bool | None = None
        self._is_stored = False

    async def keep(self) -> bool:
        """Store the image; return false if that may work later, because the object store has failed."""
        if self._images is None:
            return True
        if self._is_exported is None:
            self._is_exported = await self._export()
        self._is_stored = self._is_exported and await self._images.store(self._recipe, self._layout)
        return self._is_stored or not self._is_exported

    async def forget(self) -> None:
        """Remove what was stored of the image, which is pushed now."""
        if self._is_stored and self._images:
            await self._images.forget(self._recipe)


def _manifest_key(key: str) -> str:
    return f"{PREFIX}{key}/manifest"


def _manifest_of(layout: Path) -> Document:
    with open_plain(layout / "index.json") as file:
        (entry,) = Document("", file.read(_DOCUMENT_BYTES)).manifests
    with open_plain(layout / "blobs/sha256" / hex_of(entry.digest)) as file:
        manifest = detect(entry.media_type, file.read(_DOCUMENT_BYTES))
    if not manifest.is_manifest or manifest.digest != entry.digest:
        raise ManifestInvalid("the layout is not that of one image")
    return manifest
