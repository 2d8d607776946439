"""Inspect an image: read its manifest and config, and describe them with the messages of Wave's API.

Source: Wave, "API reference", https://docs.seqera.io/wave/api
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, Self

import msgspec
from msgspec import Struct, structs

from registry_proxy.domain.index import choose, deeper
from registry_proxy.image_tree.walk import Walk, Walks
from swell.api.inspect import (
    ConfigInfo,
    ContainerInfo,
    HistoryEntry,
    IndexInfo,
    Inspection,
    ManifestInfo,
    Referrer,
    RootFsInfo,
    RunInfo,
)
from swell.concurrency.deadline import within
from swell.errors import BadRequest, ImageUnsupported, ManifestInvalid, ManifestUnknown, SwellError
from swell.log import log
from swell.oci.descriptor import Descriptor
from swell.oci.document import Document
from swell.oci.image import Image
from swell.oci.media_types import CONFIGS, OCI_MANIFEST
from swell.oci.platform import Platform
from swell.oci.reference import Reference
from swell.registry.credentials.principal import PUBLIC, Principal

MOST_HISTORY = 200  # entries
LONGEST_TEXT = 1000  # characters of an entry
MOST_REFERRERS, MOST_ANNOTATIONS = 100, 10
LONGEST_NAME = 200  # characters
REFERRERS_SECONDS = 8.0

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9}|)(Z|[+-]\d\d:\d\d)", re.ASCII)
_NAMES = {
    "Hostname": "hostName",
    "Domainname": "domainName",
}  # exceptions to lowering Docker's first letter
_NOTHING: tuple[object, ...] = (None, "", [], {})


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    def host_name(self, registry: str) -> str:
        """Return the URL of *registry*, with its scheme."""

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        """Return the index of the referrers of *reference*; None without referrers."""


class Inspector:
    """Answers inspection requests."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._walks = Walks()

    async def inspect(
        self, image: Reference, platform: Platform | None, principal: Principal = PUBLIC, *, referrers: bool = False
    ) -> Inspection:
        """Describe *image*: its index if it has one and no *platform* is given, else the image of one platform.

        With *referrers*, list those of the described manifest; None if the registry does not list them.

        Registries are read with the credentials of *principal*. As in pulls, an image without an index matches any
        platform.

        Raises:
            BadRequest: the index has no image for *platform*.
            ImageUnsupported: the manifest has schema 1.
        """
        async with self._walks.begin(image.registry) as walk:
            reader = _Reader(self._upstream.acting_for(principal), walk)
            inspection = await reader.inspect(image, platform)
            described = inspection.container or inspection.index
            if not (referrers and described and described.digest):
                return inspection
            return structs.replace(inspection, referrers=await reader.referrers(image.at(described.digest)))


class _Reader:
    """Inspects one image with the credentials of *upstream*."""

    def __init__(self, upstream: Upstream, walk: Walk) -> None:
        self._upstream = upstream
        self._walk = walk

    async def inspect(self, image: Reference, platform: Platform | None) -> Inspection:
        document = await self._upstream.fetch_manifest(image)
        if document.is_index and platform is None:
            return Inspection(index=index_info(document))
        manifest = await self._select(platform, image, document) if platform else document
        if not manifest.is_manifest:
            raise ImageUnsupported(f"the manifest of '{image}' has an unsupported format")
        inspected = Image(manifest, await self._config(image, manifest))
        return Inspection(container=container_info(image, self._upstream.host_name(image.registry), inspected))

    async def referrers(self, manifest: Reference) -> tuple[Referrer, ...] | None:
        try:
            await self._walk.count_fetch()
            with within(REFERRERS_SECONDS):
                index = await self._upstream.fetch_referrers(manifest)
            return referrers_of(self._walk.read(index)) if index else ()
        except SwellError as error:
            log.info("referrers not listed", image=str(manifest), error=str(error))
            return None

    async def _select(self, platform: Platform, image: Reference, document: Document, depth: int = 0) -> Document:
        """Return *document* if it is a manifest, else the first manifest for *platform* below it."""
        if not document.is_index:
            return document
        depth = deeper(depth)
        missing = BadRequest(f"'{image}' has no image for {platform}")
        for entry in _entries(document, platform):
            child = await self._walk.fetch(self._upstream.fetch_manifest, image.at(entry.digest))
            if not (entry.platform or child.is_index or platform.matches((await self._config(image, child)).fields)):
                continue  # the index gives no platform, and the config gives another one
            try:
                return await self._select(platform, image, child, depth)
            except BadRequest as error:
                missing = error
        raise missing

    async def _config(self, image: Reference, manifest: Document) -> Document:
        """Return the config of *manifest*; an empty one for charts and other artifacts, which cannot run."""
        if manifest.config.media_type in CONFIGS:
            return await self._walk.fetch(self._upstream.fetch_config, image, manifest.config)
        return Document(manifest.config.media_type, b"{}")


def _entries(index: Document, platform: Platform) -> tuple[Descriptor, ...]:
    try:
        return choose(index, (platform,))
    except ManifestUnknown as error:
        raise BadRequest(str(error)) from error  # the image exists, but not for this platform


def index_info(index: Document) -> IndexInfo:
    return structs.replace(index.read_as(IndexInfo), media_type=index.kind, digest=index.digest)


class _Entries(Struct):
    manifests: tuple[Referrer, ...] | None = None


def referrers_of(index: Document) -> tuple[Referrer, ...]:
    """The entries of an *index* of referrers, with short texts.

    Raises:
        ManifestInvalid: the index is malformed.
    """
    entries = (index.read_as(_Entries).manifests or ())[:MOST_REFERRERS]
    return tuple(
        structs.replace(
            entry,
            media_type=(entry.media_type or "")[:LONGEST_NAME] or None,
            artifact_type=(entry.artifact_type or "")[:LONGEST_NAME] or None,
            annotations={
                name[:LONGEST_NAME]: value[:LONGEST_NAME]
                for name, value in list((entry.annotations or {}).items())[:MOST_ANNOTATIONS]
            },
        )
        for entry in entries
    )


def container_info(reference: Reference, host_name: str, image: Image) -> ContainerInfo:
    """Describe *image*, which *reference* names; *host_name* is its registry's URL.

    Raises:
        ManifestInvalid: the manifest or the config is malformed.
    """
    manifest = structs.replace(image.manifest.read_as(ManifestInfo), media_type=image.manifest.kind)
    return ContainerInfo(
        registry=reference.registry,
        host_name=host_name,
        image_name=reference.repository,
        reference=reference.reference,
        digest=image.manifest.digest,
        config=config_info(image.config),
        manifest=manifest,
        v1=manifest.schema_version == 1,
        v2=manifest.schema_version == 2,
        oci=manifest.media_type == OCI_MANIFEST,
    )


class _RootFs(Struct):
    type: str | None = None
    diff_ids: tuple[str, ...] | None = None  # Go writes an empty list as null, or omits it


class _Entry(Struct):
    created_by: str | None = None
    comment: str | None = None
    empty_layer: bool | None = None


class _Config(Struct):
    architecture: str | None = None
    config: dict[str, Any] | None = None
    container: str | None = None
    created: str | None = None
    rootfs: _RootFs | None = None
    history: tuple[_Entry, ...] | None = None


def config_info(config: Document) -> ConfigInfo:
    fields = config.read_as(_Config)
    return ConfigInfo(
        architecture=fields.architecture or "",
        config=_run_info(fields.config) if fields.config is not None else None,
        container=fields.container or "",
        created=_utc_time(fields.created or ""),
        rootfs=RootFsInfo(fields.rootfs.type or "", fields.rootfs.diff_ids or ()) if fields.rootfs else None,
        history=tuple(map(_history_entry, (fields.history or ())[:MOST_HISTORY])),
    )


def _history_entry(entry: _Entry) -> HistoryEntry:
    return HistoryEntry(
        (entry.created_by or "")[:LONGEST_TEXT], (entry.comment or "")[:LONGEST_TEXT], entry.empty_layer or False
    )


def _run_info(fields: Mapping[str, Any]) -> RunInfo:
    renamed = {_camel(name): value for name, value in fields.items() if value not in _NOTHING}
    for command in ("cmd", "entrypoint"):
        if isinstance(text := renamed.get(command), str):
            renamed[command] = [text]  # very old images have a string
    try:
        return msgspec.convert(renamed, RunInfo)
    except (msgspec.ValidationError, RecursionError) as error:
        raise ManifestInvalid(f"The image's config is malformed: {error}") from error


def _camel(name: str) -> str:
    return _NAMES.get(name) or name[:1].lower() + name[1:]


def _utc_time(text: str) -> str:
    """Convert an RFC 3339 time to UTC, keeping all fraction digits; empty if *text* is not a time.

    Source: RFC 3339, section 5.6, https://www.rfc-editor.org/rfc/rfc3339#section-5.6
    """
    if not (match := _TIME.fullmatch(text)):
        return ""
    seconds, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(seconds + zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"
