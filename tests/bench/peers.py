"""The peers of pulls: the reference registry as anybody may run it, without a password and without us."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from swell_embedded import probes
from swell_embedded.child import Child
from swell_embedded.ports import Ports
from swell_embedded.program import Program
from tests.bench.place import Place, clean_environment

OPEN = "docker-registry"
CACHE = "docker-registry as a warm cache"


@asynccontextmanager
async def open_registry(place: Place) -> AsyncIterator[str]:
    """One more registry on the files of the stack's own, asking for no password: it is the faster for that."""
    async with _registry(place.home / "open", storage=place.home / "stack" / "data" / "registry") as url:
        yield url


@asynccontextmanager
async def pull_through(place: Place) -> AsyncIterator[str]:
    """A pull-through cache in front of `open_registry`."""
    folder = place.home / "cache"
    async with (
        open_registry(place) as remote,
        _registry(folder, storage=folder / "data", proxy={"remoteurl": remote}) as url,
    ):
        yield url


@asynccontextmanager
async def _registry(folder: Path, *, storage: Path, **more: Mapping[str, str]) -> AsyncIterator[str]:
    """docker-registry with *storage* and what *more* its configuration says; yields its base URL."""
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
