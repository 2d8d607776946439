"""`make demo`: a build and two pulls on this machine, explained step by step.

The demo creates its base image and pushes it to the embedded registry, so it needs no other registry.
"""

import asyncio
import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

from swell_embedded.errors import CannotStart
from swell_embedded.ports import Ports
from swell_embedded.stack import open_stack

_BUSYBOX = Path("/bin/busybox")
_APPLETS = ("sh", "cat", "date", "echo", "env", "ls", "uname")
_OCI = "application/vnd.oci.image"
_MINUTE = aiohttp.ClientTimeout(total=60)


async def demo(home: Path, ports: Ports) -> None:
    """Use the Swell that runs in *home* on *ports*, or start one until the demo ends.

    Raises:
        CannotStart: the message says what to change on this machine.
    """
    async with _swell(home, ports) as url, aiohttp.ClientSession(timeout=_MINUTE) as session:
        base = f"localhost:{ports.registry}/library/busybox:latest"
        with TemporaryDirectory(prefix="swell-demo-") as folder:
            _print(f"Create a base image from this machine's busybox and push it: {base}")
            await _push(Path(folder, "base"), base, home / "auth" / "push.json")

            file = f'FROM {base}\nRUN echo "hello, built $(date)" > /hello.txt\nENV STAGE=demo\n'
            _print(f"Request a build of this container file:\n{file}")
            answer = await _ask(session, url, containerFile=base64.b64encode(file.encode()).decode())
            _print(f"The immediate response:\n{json.dumps(answer, indent=2)}")

            _print(f"skopeo copy docker://{answer['targetImage']} (waits until the build is done)")
            built = Path(folder, "built")
            await _pull(answer["targetImage"], built)
            _print(f"Content of /hello.txt in the image: {_read_file(built, 'hello.txt')}")
            async with session.get(f"{url}/v1alpha1/builds/{answer['buildId']}/logs") as log:
                _print(f"Start of the build log:\n{(await log.text())[:300]} …")

            changes = {"env": ["STAGE=added"], "entrypoint": ["/bin/env"]}
            answer = await _ask(session, url, containerImage=base, containerConfig=changes)
            augmented = Path(folder, "augmented")
            await _pull(answer["targetImage"], augmented)
            _print(f"The base image with another environment and entrypoint, without a build: {answer['targetImage']}")
            _print(f"Its config: {json.dumps(_config(augmented)['config'])}")
    _print("Done. docker and podman can pull these image names as well.")


def _print(text: str) -> None:
    print(f"\n* {text}", flush=True)  # noqa: T201  a demo prints


async def is_running(ports: Ports) -> bool:
    """Return whether a Swell serves on *ports*, or at SWELL_SERVER_URL."""
    return await _is_ready(_url(ports))


def _url(ports: Ports) -> str:
    return os.environ.get("SWELL_SERVER_URL") or f"http://localhost:{ports.gateway}"


@asynccontextmanager
async def _swell(home: Path, ports: Ports) -> AsyncIterator[str]:
    """Yield the URL of a ready Swell."""
    if await is_running(ports):
        yield _url(ports)
        return
    _print("Swell is not running; starting it for this demo")
    async with open_stack(home, ports) as stack:
        yield stack.url


async def _is_ready(url: str) -> bool:
    try:
        async with aiohttp.ClientSession(timeout=_MINUTE) as session, session.get(f"{url}/health") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _ask(session: aiohttp.ClientSession, url: str, **request: object) -> dict[str, Any]:
    async with session.post(f"{url}/v1alpha2/container", json=request) as response:
        answer: dict[str, Any] = await response.json()
        if response.status != 200:
            raise CannotStart(f"Swell refused the demo's request: {answer['message']}")
        return answer


async def _push(folder: Path, image: str, auth_file: Path) -> None:
    _write_base(folder)
    await _skopeo("copy", "--dest-authfile", auth_file, "--dest-tls-verify=false", f"oci:{folder}", f"docker://{image}")


async def _pull(image: str, folder: Path) -> None:
    await _skopeo("copy", "--src-tls-verify=false", f"docker://{image}", f"oci:{folder}")


async def _skopeo(*arguments: str | Path) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec("skopeo", "--insecure-policy", *arguments, stdout=pipe, stderr=pipe)
    _, errors = await process.communicate()
    if process.returncode:
        raise CannotStart(f"skopeo {arguments[0]} failed: {errors.decode(errors='replace').strip()}")


def _write_base(folder: Path) -> None:
    """Write an OCI image layout with busybox and some of its commands.

    Source: OCI image-spec, "Image Layout", https://github.com/opencontainers/image-spec/blob/main/image-layout.md
    """
    if not _BUSYBOX.exists():
        raise CannotStart(
            "the demo needs busybox for its base image: run `make system`, or `apt-get install busybox-static`"
        )
    tar = _busybox_tar()
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine),
        "os": "linux",
        "config": {"Env": ["PATH=/bin", "STAGE=base"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(tar).hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{_OCI}.manifest.v1+json",
        "config": _put(folder, f"{_OCI}.config.v1+json", json.dumps(config).encode()),
        "layers": [_put(folder, f"{_OCI}.layer.v1.tar+gzip", gzip.compress(tar, mtime=0))],
    }
    index = {"schemaVersion": 2, "manifests": [_put(folder, manifest["mediaType"], json.dumps(manifest).encode())]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')


def _busybox_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        program = tarfile.TarInfo("bin/busybox")
        program.size, program.mode = _BUSYBOX.stat().st_size, 0o755
        tar.addfile(program, io.BytesIO(_BUSYBOX.read_bytes()))
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def _put(folder: Path, media_type: object, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    path = folder / "blobs" / "sha256" / digest
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _blob(folder: Path, descriptor: dict[str, Any]) -> bytes:
    digest: str = descriptor["digest"]
    return (folder / "blobs" / digest.replace(":", "/")).read_bytes()


def _manifest(folder: Path) -> dict[str, Any]:
    (entry,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    manifest: dict[str, Any] = json.loads(_blob(folder, entry))
    return manifest


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(_blob(folder, _manifest(folder)["config"]))
    return config


def _read_file(folder: Path, name: str) -> str:
    """Return the text of the file *name* in the top layer of the image in *folder*."""
    layer = _blob(folder, _manifest(folder)["layers"][-1])
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as tar:
        file = tar.extractfile(name)
        return file.read().decode().strip() if file else "(nothing)"
