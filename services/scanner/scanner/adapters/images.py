"""Reads images from their registries, through the outbound guard, and writes them as OCI image layouts or SIF files.

Source: OCI image-spec, "Image Layout Specification",
https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import msgspec

from scanner.catalogue import PlatformImage
from scanner.domain.failure import ScanFailure
from scanner.tools.protocol import SIF_FILE
from swell.disk import in_thread
from swell.errors import (
    ManifestInvalid,
    ManifestUnknown,
    SwellError,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
)
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document
from swell.oci.media_types import DOCKER_CONFIG, OCI_CONFIG, SIF_LAYER
from swell.oci.platform import Platform, parse_platform
from swell.oci.reference import Reference
from swell.registry.client import RegistryClient
from swell.registry.credentials.principal import Principal
from swell.registry.pull import download_blob, fetch_blob
from swell.registry.push import fetch_document
from swell.store.scans import ScanProblem
from swell_sandbox.sandbox import new_directory
from swell_sandbox.workspace import remove

CONFIG_BYTES = 8 << 20
MAX_PLATFORMS, MAX_LAYERS, MAX_DEPTH, MAX_DOCUMENTS = 16, 1000, 3, 64
_AT_ONCE = 3  # downloads
_ANY_SIF = "linux/amd64"  # the platform of a SIF file whose request names none: its manifest does not have it


class RegistryImages:
    """See `Images`; layouts are in *workspace*, *limit* is the most bytes of the layers of an image."""

    def __init__(self, client: RegistryClient, workspace: Path, limit: int) -> None:
        self._client = client
        self._workspace = workspace
        self._limit = limit

    async def images(self, image: Reference, platforms: Sequence[str], principal: Principal) -> list[PlatformImage]:
        client = self._client.acting_for(principal)
        with _failures(image):
            document = await _document(client, image)
            if is_sif(document):
                return [PlatformImage(next(iter(platforms), _ANY_SIF), image.at(document.digest), document)]
            if not document.is_index:
                config = await _config(client, image, document)
                return [PlatformImage(_platform_of(config.fields, platforms), image.at(document.digest), document)]
            listed = await _listed(client, image, document)
            if platforms:
                chosen = [_best(image, listed, parse_platform(name)) for name in platforms]
            else:
                chosen = [(str(_platform(entry.platform or {})), entry) for entry in listed if _is_runnable(entry)]
            unique = {entry.digest: (name, entry) for name, entry in reversed(chosen)}
            if not unique:
                raise ManifestUnknown(f"'{image}' lists no image")
            if len(unique) > MAX_PLATFORMS:
                raise ManifestInvalid(f"'{image}' lists more than {MAX_PLATFORMS} images")
            return [
                PlatformImage(name, image.at(entry.digest), await _document(client, image.at(entry.digest)))
                for name, entry in reversed(unique.values())
            ]

    @asynccontextmanager
    async def layout(self, image: PlatformImage, principal: Principal) -> AsyncIterator[Path]:
        folder = new_directory(self._workspace, "layout.")
        try:
            folder.chmod(0o755)
            if is_sif(image.manifest):
                await self._download_sif(image, principal, folder)
            else:
                await self._download(image, principal, folder)
            yield folder
        finally:
            await in_thread(remove, folder)

    async def _download_sif(self, image: PlatformImage, principal: Principal, folder: Path) -> None:
        (blob,) = image.manifest.layers
        with _failures(image.reference):
            if blob.size > self._limit:
                message = f"{image.reference} has more than the {self._limit} bytes that this server scans."
                raise ScanFailure(ScanProblem.IMAGE, message)
            client = self._client.acting_for(principal)
            await download_blob(client, image.reference, blob, folder / SIF_FILE, self._limit)

    async def _download(self, image: PlatformImage, principal: Principal, folder: Path) -> None:
        client, manifest = self._client.acting_for(principal), image.manifest
        with _failures(image.reference):
            if not manifest.is_manifest:
                raise ManifestInvalid(f"'{image.reference}' is not an image")
            blobs = {blob.digest: blob for blob in (manifest.config, *manifest.layers)}
            if len(manifest.layers) > MAX_LAYERS:
                raise ManifestInvalid(f"'{image.reference}' has more than {MAX_LAYERS} layers")
            if sum(blob.size for blob in blobs.values()) > self._limit:
                message = f"{image.reference} has more than the {self._limit} bytes that this server scans."
                raise ScanFailure(ScanProblem.IMAGE, message)
            slots = asyncio.Semaphore(_AT_ONCE)

            async def download(blob: Descriptor) -> None:
                async with slots:
                    await download_blob(client, image.reference, blob, _path(folder, blob.digest), self._limit)

            try:
                async with asyncio.TaskGroup() as tasks:
                    for blob in blobs.values():
                        tasks.create_task(download(blob))
            except ExceptionGroup as group:
                raise group.exceptions[0] from group
            _write_documents(folder, manifest)


def is_sif(document: Document) -> bool:
    """Whether *document* is the manifest of a SIF file, and not of an image, whose layer could be both."""
    if not document.is_manifest or document.config.media_type in {OCI_CONFIG, DOCKER_CONFIG}:
        return False
    return [layer.media_type for layer in document.layers] == [SIF_LAYER]


def _write_documents(folder: Path, manifest: Document) -> None:
    entry = {"mediaType": manifest.kind, "digest": manifest.digest, "size": manifest.size}
    _path(folder, manifest.digest).write_bytes(manifest.content)
    (folder / "index.json").write_bytes(msgspec.json.encode({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _path(folder: Path, digest: str) -> Path:
    """The path of a blob; a digest that was read is `algorithm:hex`, so it is no other path."""
    algorithm, _, encoded = digest.partition(":")
    (folder / "blobs" / algorithm).mkdir(parents=True, exist_ok=True)
    return folder / "blobs" / algorithm / encoded


async def _document(client: RegistryClient, image: Reference) -> Document:
    document = await fetch_document(client, image)
    if document is None:
        raise ManifestUnknown(f"the image '{image}' does not exist")
    return document


async def _config(client: RegistryClient, image: Reference, manifest: Document) -> Document:
    if not manifest.is_manifest:
        raise ManifestInvalid(f"'{image}' is not an image")
    content = await fetch_blob(client, image, manifest.config, CONFIG_BYTES)
    return Document(manifest.config.media_type, content)


async def _listed(client: RegistryClient, image: Reference, index: Document) -> list[Descriptor]:
    """All images that *index* lists, also through other indexes."""
    listed, indexes, fetched = list[Descriptor](), [(index, 1)], 1
    while indexes:
        document, depth = indexes.pop(0)
        for entry in document.manifests:
            if "index" not in entry.media_type and "list" not in entry.media_type:
                listed.append(entry)
                continue
            fetched += 1
            if depth == MAX_DEPTH or fetched > MAX_DOCUMENTS:
                raise ManifestInvalid(f"'{image}' lists too many indexes")
            indexes.append((await _document(client, image.at(entry.digest)), depth + 1))
    return listed


def _best(image: Reference, listed: Sequence[Descriptor], platform: Platform) -> tuple[str, Descriptor]:
    best = platform.best(entry.platform or {} for entry in listed)
    entry = next((each for each in listed if best is not None and platform.rank(each.platform or {}) == best), None)
    if entry is None:
        raise ManifestUnknown(f"'{image}' has no image for {platform}")
    return str(platform), entry


def _is_runnable(entry: Descriptor) -> bool:
    """Whether an entry is an image: BuildKit lists provenance with the platform `unknown/unknown`."""
    platform = entry.platform or {}
    return platform.get("os") not in {None, "", "unknown"} and platform.get("architecture") not in {None, "", "unknown"}


def _platform(fields: Mapping[str, object]) -> Platform:
    os, architecture, variant = (str(fields.get(name) or "") for name in ("os", "architecture", "variant"))
    return Platform.of(os, architecture, variant or None)


def _platform_of(config: Mapping[str, object], platforms: Sequence[str]) -> str:
    """The platform of an image without index: that of its config, or the requested one if the config has none."""
    if config.get("os") and config.get("architecture"):
        return str(_platform(config))
    return platforms[0] if platforms else "linux/amd64"


@contextmanager
def _failures(image: Reference) -> Iterator[None]:
    """Raise errors of registries as `ScanFailure`, or as `Unavailable` if another try may succeed."""
    try:
        yield
    except Unavailable:
        raise
    except (UpstreamFailed, TooManyRequests) as error:
        raise Unavailable(f"{image} cannot be read at the moment: {error}") from error
    except SwellError as error:
        raise ScanFailure(ScanProblem.IMAGE, f"The image {image} cannot be read: {error}.") from error
