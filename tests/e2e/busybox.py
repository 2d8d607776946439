"""The base image of the end-to-end tests: busybox, in the four forms in which registries store images.

The image is made here, without a tool, so its bytes are the same in every run.
"""

import gzip
import io
import itertools
import json
import subprocess
import tarfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
from msgspec import Struct
from yarl import URL

from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
)
from swell.oci.platform import parse_platform
from swell.testing.images import Layer, make_index

BUSYBOX = Path("/bin/busybox")
REPOSITORY = "library/busybox"
ARCHITECTURES = ("amd64", "arm64")
FORMS = ("docker", "oci", "docker-list", "oci-index")
"""The tags of the four forms: a manifest or an index, with Docker's or the OCI's media types."""


class Base(Struct, frozen=True):
    """An image of one platform with its manifest, config and layer."""

    manifest: Document
    config: Document
    layer: Layer


def archive(
    files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None, folders: Iterable[str] = ()
) -> Layer:
    """Return a layer with executable *files*, symbolic *links* and optional entries for *folders*.

    Long names are in pax headers. Equal input gives equal bytes.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in folders:
            member = tarfile.TarInfo(name)
            member.type, member.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(member)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return Layer(buffer.getvalue(), gzip.compress(buffer.getvalue(), 1, mtime=0))


@cache
def make_base(architecture: str, *, docker: bool) -> Base:
    """Return busybox for *architecture*. Only the amd64 image can run; others differ in their config alone."""
    layer = root()
    run = {"Env": ["PATH=/bin", "MODE=base", f"BUILT_FOR={architecture}"], "Cmd": ["/bin/sh"]}
    return Base(*_documents(architecture, run, layer, docker=docker), layer)


def document_of(form: str) -> Document:
    """Return the manifest or index with the tag *form*."""
    docker = form.startswith("docker")
    amd64, arm64 = (make_base(each, docker=docker).manifest for each in ARCHITECTURES)
    if form in {"docker", "oci"}:
        return amd64
    children = zip((amd64, arm64), (parse_platform(f"linux/{each}") for each in ARCHITECTURES), strict=True)
    return make_index(*children, docker=docker)


async def push_all(registry: str, authorization: str | None = None) -> None:
    """Push the four forms to *registry* (`host:port`)."""
    async with _session(registry, authorization) as session:
        for architecture, docker in itertools.product(ARCHITECTURES, (True, False)):
            base = make_base(architecture, docker=docker)
            await _put_blob(session, REPOSITORY, base.layer.gzipped)
            await _put_blob(session, REPOSITORY, base.config.content)
            await _put_manifest(session, REPOSITORY, base.manifest.digest, base.manifest)
        for form in FORMS:
            await _put_manifest(session, REPOSITORY, form, document_of(form))


async def push(
    image: str, *layers: Layer, authorization: str | None = None, media_type: str = OCI_LAYER, **run: object
) -> str:
    """Push *image* (`host:port/repository:tag`) and return its name.

    The image has *layers* of *media_type* and the run-time fields *run*.
    """
    registry, _, name = image.partition("/")
    repository, _, tag = name.partition(":")
    manifest, config = _documents("amd64", run, *layers, docker=False, media_type=media_type)
    async with _session(registry, authorization) as session:
        for content in (config.content, *(layer.gzipped for layer in layers)):
            await _put_blob(session, repository, content)
        await _put_manifest(session, repository, tag, manifest)
    return image


async def read(image: str) -> bytes:
    """Return the manifest of *image* (`host:port/repository:tag`) from its registry."""
    registry, _, name = image.partition("/")
    repository, _, tag = name.partition(":")
    accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
    async with aiohttp.request("GET", f"http://{registry}/v2/{repository}/manifests/{tag}", headers=accept) as answer:
        assert answer.status == 200
        return await answer.read()


async def refer(image: str, base: Document, referrer: Document, artifact_type: str) -> None:
    """Push the index of referrers of *base* under the referrers tag, for registries without that end-point."""
    registry, _, name = image.partition("/")
    repository, tag = name.partition(":")[0], base.digest.replace(":", "-")
    entry: dict[str, Any] = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": referrer.digest,
        "size": referrer.size,
        "artifactType": artifact_type,
    }
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
    url = f"http://{registry}/v2/{repository}/manifests/{tag}"
    async with aiohttp.request("PUT", url, data=index, headers={"Content-Type": OCI_INDEX}) as answer:
        assert answer.status == 201, await answer.text()


@cache
def root() -> Layer:
    """Return the layer that contains busybox."""
    applets = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    return archive({"bin/busybox": BUSYBOX.read_bytes()}, links=links)


def _documents(
    architecture: str, run: Mapping[str, Any], *layers: Layer, docker: bool, media_type: str = OCI_LAYER
) -> tuple[Document, Document]:
    """Return the manifest and config of an image; *media_type* is the type of its layers unless it is Docker's."""
    platform = parse_platform(f"linux/{architecture}")
    rootfs = {"type": "layers", "diff_ids": [digest_of(layer.tar) for layer in layers]}
    config_fields = {"architecture": platform.architecture, "os": platform.os, "config": run, "rootfs": rootfs}
    config = Document(DOCKER_CONFIG if docker else OCI_CONFIG, json.dumps(config_fields).encode())
    manifest_type, layer_type = (DOCKER_MANIFEST, DOCKER_LAYER) if docker else (OCI_MANIFEST, media_type)
    fields = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": _descriptor(config.media_type, config.content),
        "layers": [_descriptor(layer_type, layer.gzipped) for layer in layers],
    }
    return Document(manifest_type, json.dumps(fields).encode()), config


def _session(registry: str, authorization: str | None) -> aiohttp.ClientSession:
    headers = {"Authorization": authorization} if authorization else {}
    return aiohttp.ClientSession(URL(f"http://{registry}"), headers=headers, raise_for_status=True)


async def _put_blob(session: aiohttp.ClientSession, repository: str, content: bytes) -> None:
    async with session.post(f"/v2/{repository}/blobs/uploads/") as response:
        upload = URL(response.headers["Location"], encoded=True).update_query(digest=digest_of(content))
    async with session.put(upload, data=io.BytesIO(content)):
        pass


async def _put_manifest(session: aiohttp.ClientSession, repository: str, reference: str, document: Document) -> None:
    headers = {"Content-Type": document.media_type}
    async with session.put(f"/v2/{repository}/manifests/{reference}", data=document.content, headers=headers):
        pass


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}
