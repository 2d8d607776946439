"""A registry with a password, a base image in it, and engines to build with."""

import base64
import io
import json
import os
import shutil
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from builder.buildah.engine import BuildahEngine
from builder.buildah.mounts import Version
from builder.engine import Recipe
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from swell.registry.credentials.principal import OPERATOR
from tests.integration.builder.harness import OpenEngine, Output, Registry, free_port, gzipped_tar

NEEDED = ("buildah", "runc", "slirp4netns", "newuidmap", "docker-registry", "busybox", "mksquashfs")
READY_WITHIN = 60.0


@pytest.fixture(scope="session", autouse=True)
def machine() -> None:
    """Builds are real: they need root, and buildah with its runtime. A gate that cannot look must not say yes."""
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing or os.geteuid() != 0:
        pytest.fail(
            f"these tests need root, and of `make system-test` there is missing: {', '.join(missing) or 'nothing'}"
        )


@pytest.fixture(scope="session")
def registry(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    directory = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    (directory / "htpasswd").write_bytes(b"swell:" + bcrypt.hashpw(b"secret", bcrypt.gensalt(4)) + b"\n")
    auth = base64.b64encode(b"swell:secret").decode()
    (directory / "auth.json").write_text(json.dumps({"auths": {address: {"auth": auth}}}))
    (directory / "config.json").write_text(json.dumps(_registry_configuration(directory, address)))
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(["docker-registry", "serve", directory / "config.json"], stdout=log, stderr=log)
    try:
        _wait_for(address)
        yield Registry(address, directory / "auth.json", f"Basic {auth}")
    finally:
        process.terminate()
        process.wait(60)


def _registry_configuration(directory: Path, address: str) -> dict[str, Any]:
    return {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": address},
        "auth": {"htpasswd": {"realm": "test", "path": str(directory / "htpasswd")}},
    }


def _wait_for(address: str) -> None:
    give_up = time.monotonic() + READY_WITHIN
    while True:
        try:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=1)
        except urllib.error.HTTPError:
            return  # it answers, if only to ask for the password
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


@pytest.fixture(scope="session")
def open_engine(registry: Registry) -> OpenEngine:
    def opened(
        workspace: Path, *, sifs: Sifs | None = None, version: Version | None = None, **settings: Any
    ) -> AbstractAsyncContextManager[BuildahEngine]:
        known: dict[str, Any] = {"pull_auth_file": registry.auth_file, "push_auth_file": registry.auth_file}
        known |= {"allowed_hosts": frozenset({registry.address}), "build_timeout": timedelta(seconds=120)}
        return BuildahEngine.open(EngineSettings(workspace=workspace, **(known | settings)), sifs, version=version)

    return opened


@pytest.fixture(scope="session")
async def engine(open_engine: OpenEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildahEngine]:
    async with open_engine(tmp_path_factory.mktemp("workspace")) as engine:
        yield engine


@pytest.fixture(scope="session")
async def base(registry: Registry, engine: BuildahEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of busybox with its usual names."""
    directory = tmp_path_factory.mktemp("base")
    context = gzipped_tar(directory / "context.tar.gz", {"rootfs.tar": _busybox()})
    target = f"{registry.address}/base:1"
    recipe = Recipe(
        principal=OPERATOR,
        push_principal=OPERATOR,
        build_id="bd-base_1",
        target_image=target,
        containerfile=BASE,
        context=context,
    )
    await engine.build(recipe, Output())
    return target


BASE = "FROM scratch\nADD rootfs.tar /\n"


def _busybox() -> bytes:
    program = shutil.which("busybox")
    assert program
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as rootfs:
        rootfs.add(program, "bin/busybox")
        for name in subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split():
            if name != "busybox":
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                rootfs.addfile(link)
        for name in ("tmp", "etc", "proc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            rootfs.addfile(folder)
    return content.getvalue()
