"""Examples for scanners: vulnerabilities, packages, and images with them."""

import hashlib
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

from builder.sif.format import Kind, Part, head_of
from scanner.settings import Settings
from scanner.tools.protocol import SIF_FILE
from swell.jobs.settings import NatsSettings
from swell.oci.digest import digest_of
from swell.store.connections.settings import RedisSettings, S3Settings
from swell.testing import rootfs
from swell.testing.vulnerabilities import Vulnerability

VULNERABILITIES = (
    Vulnerability(
        id="CVE-2026-0001",
        package="libdemo",
        fixed="1.1",
        distribution="debian 12",
        description="A demo\nin two lines.",
        epss=0.3,
        exploited=True,
        fixed_on="2026-11-01",
    ),
    Vulnerability(id="CVE-2026-0002", package="tiny", severity="negligible", distribution="debian 12"),
    Vulnerability(
        id="GHSA-aaaa-bbbb-cccc",
        package="requests",
        fixed="2.1.0",
        ecosystem="python",
        severity="medium",
        cves=("CVE-2026-0003",),
    ),
    Vulnerability(id="CVE-2026-0003", package="requests", fixed="2.1.0", ecosystem="python", severity="critical"),
    Vulnerability(id="CVE-2026-0004", package="samtools", fixed="1.18", ecosystem="conda", severity="low"),
)


PACKAGES = {
    **rootfs.debian({"libdemo": "1.0-1", "tiny": "2.0"}),
    **rootfs.conda("opt/conda", "samtools", "1.17", url="https://conda.example/samtools.conda", sha256="b" * 64),
    **rootfs.conda("opt/conda/envs/other", "zlib", "1.2"),
    **rootfs.python("usr/lib/python3/dist-packages", "requests", "2.0.0"),
    **rootfs.r_package("usr/lib/R/library", "dplyr", "1.0.0"),
}


YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(days=1)


def make_settings(workspace: Path, **changes: object) -> Settings:
    """Settings of a scanner that connects to nothing."""
    unused = {"redis": RedisSettings(url=""), "nats": NatsSettings(url=""), "s3": S3Settings(endpoint="")}
    return Settings(scan_workspace=workspace, **unused, **changes)  # type: ignore[arg-type]


def write_layout(folder: Path, files: rootfs.Files) -> Path:
    """An OCI image layout of one image with *files*."""
    tar, gzipped = rootfs.layer_of(files)

    def put(content: bytes, media_type: str) -> dict[str, object]:
        encoded = hashlib.sha256(content).hexdigest()
        (folder / "blobs/sha256" / encoded).write_bytes(content)
        return {
            "mediaType": f"application/vnd.oci.image.{media_type}",
            "digest": f"sha256:{encoded}",
            "size": len(content),
        }

    (folder / "blobs/sha256").mkdir(parents=True)
    folder.chmod(0o755)
    rootfs_fields = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]}
    config = {"os": "linux", "architecture": "amd64", "config": {}, "rootfs": rootfs_fields}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": put(json.dumps(config).encode(), "config.v1+json"),
        "layers": [put(gzipped, "layer.v1.tar+gzip")],
    }
    index = {"schemaVersion": 2, "manifests": [put(json.dumps(manifest).encode(), "manifest.v1+json")]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def write_sif(folder: Path, files: rootfs.Files) -> Path:
    """A folder with a SIF file of *files*."""
    root, squashfs, layout = folder / "root", folder / "squashfs", folder / "layout"
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    subprocess.run(("mksquashfs", root, squashfs, "-all-root", "-quiet", "-no-progress"), check=True)
    content = squashfs.read_bytes()
    part = Part(kind=Kind.PARTITION, name="squashfs", size=len(content), digest=digest_of(content))
    head = head_of([part], "amd64")
    layout.mkdir(mode=0o755)
    (layout / SIF_FILE).write_bytes(head.content.ljust(head.offsets[0], b"\0") + content)
    return layout
