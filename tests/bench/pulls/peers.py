"""The peers of pulls: the reference registry with its usual configuration, without a password."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.child import Child
from swell_embedded.processes.program import Program
from tests.bench.place import Place, clean_environment

OPEN = "docker-registry"
CACHE = "docker-registry as a warm cache"


@asynccontextmanager
async def open_registry(place: Place) -> AsyncIterator[str]:
    """Start another registry on the files of the stack's registry, without a password, which makes it faster."""
    async with registry(place.home / "open", storage=place.home / "stack" / "data" / "registry") as url:
        yield url


@asynccontextmanager
async def pull_through(place: Place) -> AsyncIterator[str]:
    """Start a pull-through cache in front of `open_registry`."""
    folder = place.home / "cache"
    async with (
        open_registry(place) as remote,
        registry(folder, storage=folder / "data", proxy={"remoteurl": remote}) as url,
    ):
        yield url


@asynccontextmanager
async def registry(folder: Path, *, storage: Path, **more: Mapping[str, str]) -> AsyncIterator[str]:
    """Start docker-registry with *storage* and the configuration *more*; yield its base URL."""
    port = Ports.free().registry
    folder.mkdir(exist_ok=True)
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": {"addr": f"127.0.0.1:{port}"},
        **more,
    }
    (folder / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    program = Program(
        name="peer",
        command=("docker-registry", "serve", str(folder / "config.yml")),
        environment=clean_environment(),
        ready=probes.http(f"http://127.0.0.1:{port}/v2/"),
    )
    child = await Child.start(program, folder)
    try:
        await child.ready()
        yield f"http://127.0.0.1:{port}"
    finally:
        await child.stop()
