"""The rate of container requests for existing images."""

import gzip
import io
import tarfile
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec

from swell.api.containers import ContainerConfig, ContainerLayer
from swell.oci.digest import digest_of
from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.load import load
from tests.bench.place import Place

ROUNDS = 3
_UNITS: dict[str, Any] = {"unit": "requests/s", "must": 2_000, "aim": 4_000, "at_least": True}
_TAIL: dict[str, Any] = {"unit": "ms", "must": 25, "aim": 25}

PLAIN = ContainerConfig(entrypoint=("/bin/sh",), env=("MODE=bench",), working_dir="/opt")


async def augmentation(place: Place) -> list[Result]:
    """Measure run-time fields alone, which Nextflow sends for most tasks."""
    return await _submits(place, "augmentation submit", PLAIN)


async def augmentation_with_layer(place: Place) -> list[Result]:
    """Measure a small layer inside the request, always the same, as the wave command sends it."""
    config = msgspec.structs.replace(PLAIN, layers=(_layer(),))
    return await _submits(place, "augmentation submit, inline layer", config)


async def _submits(place: Place, name: str, config: ContainerConfig) -> list[Result]:
    url, body = f"{place.gateway}/v1alpha2/container", request(place, config)
    await load(url, post=body, seconds=1)
    loads = [await load(url, post=body) for _ in range(ROUNDS)]
    return [
        judge(Bar(name=name, **_UNITS), [Round(each.per_second) for each in loads]),
        judge(Bar(name=f"{name}, p99", **_TAIL), [Round(each.p99 / 1000) for each in loads]),
    ]


def request(place: Place, config: ContainerConfig = PLAIN) -> Path:
    """Write a file with a request that adds *config* to the base image."""
    path = place.home / "request.json"
    path.write_bytes(msgspec.json.encode({"containerImage": place.image(), "containerConfig": config}))
    return path


def _layer() -> ContainerLayer:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        script = tarfile.TarInfo("opt/tool.sh")
        script.size = len(content := b"echo tool\n")
        archive.addfile(script, io.BytesIO(content))
    gzipped = gzip.compress(tar.getvalue(), mtime=0)
    return ContainerLayer(
        location="data:" + b64encode(gzipped).decode(),
        gzip_digest=digest_of(gzipped),
        gzip_size=len(gzipped),
        tar_digest=digest_of(tar.getvalue()),
    )
