"""Inspecting: what an image is made of and how it runs, read in its registry and told in the words of Wave's API."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import msgspec
from msgspec import Struct, structs

from registry_proxy.domain.augment import choose, deeper
from registry_proxy.image_tree.walk import Walk, Walks
from swell.api.inspect import ConfigInfo, ContainerInfo, IndexInfo, Inspection, ManifestInfo, RootFsInfo, RunInfo
from swell.errors import BadRequest, ImageUnsupported, ManifestInvalid, ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import CONFIGS, OCI_MANIFEST
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.principal import PUBLIC, Principal

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9}|)(Z|[+-]\d\d:\d\d)", re.ASCII)
_NAMES = {"Hostname": "hostName", "Domainname": "domainName"}  # those that are not Docker's with a small first letter
_NOTHING: tuple[object, ...] = (None, "", [], {})


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    def host_name(self, registry: str) -> str:
        """The address of *registry*, with its scheme."""

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...


class Inspector:
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._walks = Walks()

    async def inspect(self, image: Reference, platform: Platform | None, principal: Principal = PUBLIC) -> Inspection:
        """What *image* is: an index when it is one and no *platform* was asked for, else one platform's image.

        It is read with the credentials of *principal*. An image that is no index is taken for the right one, as in
        pulls.

        Raises:
            BadRequest: the index has nothing for *platform*.
            ImageUnsupported: it is a manifest of schema 1.
        """
        async with self._walks.begin(image.registry) as walk:
            return await _Reader(self._upstream.acting_for(principal), walk).inspect(image, platform)


class _Reader:
    """Reads with the credentials that *upstream* sends."""

    def __init__(self, upstream: Upstream, walk: Walk) -> None:
        self._upstream = upstream
        self._walk = walk

    async def inspect(self, image: Reference, platform: Platform | None) -> Inspection:
        document = await self._upstream.fetch_manifest(image)
        if document.is_index and platform is None:
            return Inspection(index=index_info(document))
        manifest = await self._for(platform, image, document) if platform else document
        if not manifest.is_manifest:
            raise ImageUnsupported(f"'{image}' is neither a manifest nor an index that can be read here")
        found = Image(manifest, await self._config(image, manifest))
        return Inspection(container=container_info(image, self._upstream.host_name(image.registry), found))

    async def _for(self, platform: Platform, image: Reference, document: Document, depth: int = 0) -> Document:
        """*document* itself, or the first manifest for *platform* that it leads to."""
        if not document.is_index:
            return document
        depth = deeper(depth)
        missing = BadRequest(f"'{image}' has nothing for {platform}")
        for entry in _entries(document, platform):
            await self._walk.fetch()
            child = self._walk.read(await self._upstream.fetch_manifest(image.at(entry.digest)))
            if not (entry.platform or child.is_index or platform.matches((await self._config(image, child)).fields)):
                continue  # of whose platform the index tells nothing
            try:
                return await self._for(platform, image, child, depth)
            except BadRequest as error:
                missing = error
        raise missing

    async def _config(self, image: Reference, manifest: Document) -> Document:
        """The config of *manifest*; of charts and other artifacts, which do not run, an empty one."""
        if manifest.config.media_type in CONFIGS:
            await self._walk.fetch()
            return self._walk.read(await self._upstream.fetch_config(image, manifest.config))
        return Document(manifest.config.media_type, b"{}")


def _entries(index: Document, platform: Platform) -> tuple[Descriptor, ...]:
    try:
        return choose(index, (platform,))
    except ManifestUnknown as error:
        raise BadRequest(str(error)) from error  # the image is there: it is the platform that is wrong


def index_info(index: Document) -> IndexInfo:
    return structs.replace(index.read_as(IndexInfo), media_type=index.kind, digest=index.digest)


def container_info(asked: Reference, host_name: str, image: Image) -> ContainerInfo:
    """*image*, which was *asked* for at *host_name*.

    Raises:
        ManifestInvalid: its manifest or config is malformed.
    """
    manifest = structs.replace(image.manifest.read_as(ManifestInfo), media_type=image.manifest.kind)
    return ContainerInfo(
        registry=asked.registry,
        host_name=host_name,
        image_name=asked.repository,
        reference=asked.reference,
        digest=image.manifest.digest,
        config=config_info(image.config),
        manifest=manifest,
        v1=manifest.schema_version == 1,
        v2=manifest.schema_version == 2,
        oci=manifest.media_type == OCI_MANIFEST,
    )


class _RootFs(Struct):
    type: str | None = None
    diff_ids: tuple[str, ...] | None = None  # Go writes an empty list as null or not at all


class _Config(Struct):
    architecture: str | None = None
    config: dict[str, Any] | None = None
    container: str | None = None
    created: str | None = None
    rootfs: _RootFs | None = None


def config_info(config: Document) -> ConfigInfo:
    told = config.read_as(_Config)
    return ConfigInfo(
        architecture=told.architecture or "",
        config=_run_info(told.config) if told.config is not None else None,
        container=told.container or "",
        created=_instant(told.created or ""),
        rootfs=RootFsInfo(told.rootfs.type or "", told.rootfs.diff_ids or ()) if told.rootfs else None,
    )


def _run_info(fields: Mapping[str, Any]) -> RunInfo:
    given = {_camel(name): value for name, value in fields.items() if value not in _NOTHING}
    for command in ("cmd", "entrypoint"):
        if isinstance(text := given.get(command), str):
            given[command] = [text]  # as very old images have it
    try:
        return msgspec.convert(given, RunInfo)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ManifestInvalid(f"The image's config is malformed: {error}") from error


def _camel(name: str) -> str:
    return _NAMES.get(name) or name[:1].lower() + name[1:]


def _instant(text: str) -> str:
    """The instant that *text* means, in UTC, with all its digits; empty when it means none."""
    if not (found := _INSTANT.fullmatch(text)):
        return ""
    seconds, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(seconds + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"
