"""Files of images with packages: of Debian, Conda, pip and R."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

Files = dict[str, bytes]
"""Contents by path, without a leading slash."""


def layer_of(files: Mapping[str, bytes]) -> tuple[bytes, bytes]:
    """A tar with *files*, and the same compressed; equal files make equal bytes."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue(), gzip.compress(raw.getvalue(), mtime=0)


def debian(packages: Mapping[str, str], release: str = "12") -> Files:
    """A Debian of *release* with *packages* (name -> version)."""
    status = "".join(
        f"Package: {name}\nStatus: install ok installed\nMaintainer: Debian <debian@example.org>\n"
        f"Architecture: amd64\nVersion: {version}\nDescription: a package\n\n"
        for name, version in packages.items()
    )
    names = f'PRETTY_NAME="Debian GNU/Linux {release}"\nNAME="Debian GNU/Linux"\nVERSION_ID="{release}"\nID=debian\n'
    return {
        "etc/os-release": names.encode(),
        "etc/debian_version": f"{release}.1\n".encode(),
        "var/lib/dpkg/status": status.encode(),
    }


def conda(prefix: str, name: str, version: str, **fields: Any) -> Files:
    """The record of a Conda package in the environment *prefix*, such as `opt/conda`."""
    record = {
        "name": name,
        "version": version,
        "build": "h1_0",
        "build_number": 0,
        "channel": "https://conda.anaconda.org/conda-forge/linux-64",
        "subdir": "linux-64",
        "fn": f"{name}-{version}-h1_0.conda",
        "license": "MIT",
        "files": [],
        **fields,
    }
    return {f"{prefix}/conda-meta/{name}-{version}-h1_0.json": json.dumps(record).encode()}


def python(prefix: str, name: str, version: str) -> Files:
    """A package that pip has installed below *prefix*, such as `usr/lib/python3/dist-packages`."""
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: a package\n"
    folder = f"{prefix}/{name}-{version}.dist-info"
    return {f"{folder}/METADATA": metadata.encode(), f"{folder}/RECORD": b"", f"{folder}/INSTALLER": b"pip\n"}


def r_package(library: str, name: str, version: str) -> Files:
    """An R package in *library*, such as `usr/lib/R/library`."""
    description = (
        f"Package: {name}\nVersion: {version}\nTitle: a package\nLicense: MIT\nRepository: CRAN\n"
        f"Author: A. Author\nMaintainer: A. Author <a@example.org>\nBuilt: R 4.4.0; ; 2026-01-01 00:00:00 UTC; unix\n"
    )
    return {f"{library}/{name}/DESCRIPTION": description.encode()}
