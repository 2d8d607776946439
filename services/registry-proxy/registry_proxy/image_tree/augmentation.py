"""Add the container config of a token to an image, or to the chosen platforms of an index."""

from registry_proxy.domain.augment import augment, check_manifest, check_type
from registry_proxy.domain.index import augment_index, check_platform, choose, deeper
from registry_proxy.image_tree.tree import Documents, Pull, Upstream
from registry_proxy.image_tree.walk import Walk
from swell.errors import ManifestUnknown
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import CONFIGS


class Augmentation:
    """Fetches the documents that change, and stores the changed ones."""

    def __init__(self, upstream: Upstream, documents: Documents) -> None:
        self._upstream = upstream
        self._documents = documents

    async def apply(self, pull: Pull, document: Document, walk: Walk, depth: int = 0) -> Document:
        """Return *document* with the container config added, and store every document that this creates."""
        check_type(document)
        if document.is_index:
            augmented = augment_index(document, await self._replaced(pull, document, walk, deeper(depth)))
        else:
            check_manifest(document)
            config = await walk.fetch(self._upstream_for(pull).fetch_config, pull.image, document.config)
            image = augment(Image(document, config), pull.container_config)
            await self._documents.put_config(pull.token, image.config, pull.expires)
            augmented = image.manifest
        await self._documents.put(pull.token, augmented, pull.expires)
        return augmented

    async def _replaced(self, pull: Pull, index: Document, walk: Walk, depth: int) -> dict[Digest, Document]:
        """Return the augmented entries of *index* by their old digests; at least one must have a requested platform."""
        replaced, missing = {}, None
        for entry in choose(index, pull.platforms):
            child = await walk.fetch(self._upstream_for(pull).fetch_manifest, pull.image.at(entry.digest))
            try:
                if not (entry.platform or child.is_index):
                    await self._check_platform(pull, child, walk)
                replaced[entry.digest] = await self.apply(pull, child, walk, depth)
            except ManifestUnknown as error:
                missing = error
        if missing and not replaced:
            raise missing
        return replaced

    async def _check_platform(self, pull: Pull, manifest: Document, walk: Walk) -> None:
        """Check the platform of *manifest* in its config; its index does not give one."""
        if manifest.config.media_type not in CONFIGS:
            raise ManifestUnknown(f"{manifest.digest} is no container image")
        config = await walk.fetch(self._upstream_for(pull).fetch_config, pull.image, manifest.config)
        check_platform(config, pull.platforms)

    def _upstream_for(self, pull: Pull) -> Upstream:
        return self._upstream.acting_for(pull.principal)
