"""Programs that pull and run images, each with its own store."""

import asyncio
import uuid
from pathlib import Path
from typing import NamedTuple, Protocol

DEADLINE = 120.0

PULLERS = {
    "skopeo": ("skopeo", "copy", "--src-tls-verify=false", "docker://{image}", "containers-storage:[{store}]{image}"),
    "podman": ("podman", "{root}", "{runroot}", "pull", "--tls-verify=false", "{image}"),
    "buildah": ("buildah", "{root}", "{runroot}", "from", "--tls-verify=false", "{image}"),
}
"""Three programs that fill the same kind of store. podman runs the image from it."""

# Mounts and background processes of a command (podman cleans up asynchronously) end with its namespaces.
ALONE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")


class Ran(NamedTuple):
    """The result of a command; `output` has stdout and stderr."""

    status: int
    output: str


async def run(*command: str, environment: dict[str, str] | None = None) -> Ran:
    """Run *command* until it ends, at most two minutes."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=environment
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise AssertionError(f"{command[0]} has not ended after {DEADLINE} s") from None
    assert process.returncode is not None
    return Ran(process.returncode, output.decode(errors="replace"))


async def succeed(*command: str) -> str:
    """Run *command*, which must succeed, and return its output."""
    ran = await run(*command)
    assert ran.status == 0, ran.output
    return ran.output


async def pull(image: str, folder: Path) -> Ran:
    """Pull *image* with skopeo into the OCI layout *folder*."""
    return await run("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", f"oci:{folder}:image")


class Engine(Protocol):
    async def run(self, image: str) -> str:
        """Pull *image*, run it with its own entrypoint and command, and return its output."""


class Containers:
    """Pull with one of PULLERS and run with podman; *store* is an empty folder with a path of at most 40 characters."""

    def __init__(self, puller: str, store: Path) -> None:
        self._puller = PULLERS[puller]
        self._root, self._runroot = store / "root", store / "run"

    async def run(self, image: str) -> str:
        where = {"root": f"--root={self._root}", "runroot": f"--runroot={self._runroot}"}
        store = f"overlay@{self._root}+{self._runroot}"
        await succeed(*ALONE, *(part.format(image=image, store=store, **where) for part in self._puller))
        podman = ("podman", *where.values(), "run", "--rm", "--pull=never")
        return await succeed(*ALONE, *podman, "--runtime=runc", "--network=none", "--ulimit=host", image)


class Containerd:
    """Pull and run with the containerd whose state is in *home*, as kubelets and nerdctl do."""

    def __init__(self, home: Path) -> None:
        self._ctr = ("ctr", f"--address={home}/sock")
        self._home = home

    async def run(self, image: str) -> str:
        """Let containerd's shim write the output: ctr may end before it has read all of it."""
        await succeed(*self._ctr, "images", "pull", "--plain-http", image)
        name = f"run-{uuid.uuid4().hex}"
        output = self._home / name
        await succeed(*self._ctr, "run", "--rm", "--runc-binary=runc", f"--log-uri=file://{output}", image, name)
        return output.read_text()


class Docker:
    """Pull and run with the Docker daemon at *socket*."""

    def __init__(self, socket: Path) -> None:
        self._docker = ("docker", f"--host=unix://{socket}")

    async def run(self, image: str) -> str:
        await succeed(*self._docker, "pull", "--quiet", image)
        return await succeed(*self._docker, "run", "--rm", "--network=none", image)
