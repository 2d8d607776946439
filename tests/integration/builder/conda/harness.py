"""A harness for conda/direct: its engine, a channel over http and a registry, and how one looks into what was made."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builder.conda.engine import CondaEngine
from builder.domain.failure import BuildFailure
from builder.engine import Recipe, ignore_step
from builder.settings import CondaSettings
from swell.api.package_layers import PackageLayers
from swell.net.outbound import Policy, open_session
from swell.oci.digest import Digest
from swell.oci.platform import parse_platform
from swell.provenance import Evidence
from swell.registry.credentials.principal import OPERATOR
from swell.store.records import Reason
from tests.integration.builder.conda.channel import Channel, every_kind, serving
from tests.integration.builder.harness import Output, Registry

SPECS = ("tool", "greeter", "python")
"""What most images are made of: packages of every kind."""

OpenHarness = Callable[..., AbstractAsyncContextManager["CondaHarness"]]


class CondaHarness:
    """An engine in a workspace of its own, and what it takes to use it."""

    def __init__(self, engine: CondaEngine, registry: Registry, channel: Channel, base: str) -> None:
        self.engine = engine
        self.registry = registry
        self.channel = channel
        self.base = base
        self.output = Output()
        self.began = asyncio.Event()
        self.evidence: list[Evidence] = []

    async def write_line(self, line: bytes) -> None:
        self.began.set()
        await self.output(line)

    async def solve(self, *specs: str, platform: str = "linux/amd64") -> str:
        return await self.engine.solving.solve(specs, [self.channel.url], "", parse_platform(platform))

    async def build(self, *specs: str, to: str, platform: str = "linux/amd64", **wanted: Any) -> Digest:
        """Solve *specs*, build them, push them as *to*; the digest."""
        lock = wanted.get("lock") or await self.solve(*specs, platform=platform)
        recipe = Recipe(
            principal=OPERATOR,
            push_principal=OPERATOR,
            build_id="bd-conda_1",
            target_image=self.image(to),
            containerfile="FROM scratch",
            platform=platform,
            packages=PackageLayers(base_image=wanted.get("base", self.base), lock=lock, config=wanted.get("config")),
            files=wanted.get("files", {}),
        )
        self.output = Output()
        return await self.engine.build(recipe, self.write_line, ignore_step, self.evidence.append)

    def image(self, name: str) -> str:
        return f"{self.registry.address}/conda/{name}"

    def manifest(self, name: str) -> dict[str, Any]:
        repository, _, tag = name.partition(":")
        return dict(json.loads(self.registry.fetch(f"conda/{repository}/manifests/{tag}")[0]))

    def blob(self, name: str, digest: str) -> bytes:
        return self.registry.fetch(f"conda/{name.partition(':')[0]}/blobs/{digest}")[0]

    def config(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.blob(name, self.manifest(name)["config"]["digest"])))

    def tree(self, name: str) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
        """Everything below the prefix, of all layers."""
        found = {}
        for layer in self.manifest(name)["layers"]:
            with tarfile.open(fileobj=io.BytesIO(self.blob(name, layer["digest"]))) as tar:
                for member in tar:
                    if member.name.startswith("opt/conda/"):
                        file = tar.extractfile(member) if member.isfile() or member.islnk() else None
                        found[member.name.removeprefix("opt/conda/")] = (member, file.read() if file else b"")
        return found


async def failure_of(harness: CondaHarness, **wanted: Any) -> Reason:
    lock = await harness.solve("tool")
    with pytest.raises(BuildFailure) as failed:
        await harness.build(**({"to": "refused:1", "lock": lock} | wanted))
    return failed.value.reason


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    (tmp_path / "channel").mkdir()
    with serving(tmp_path / "channel") as channel:
        channel.add(*every_kind())
        yield channel


@pytest.fixture
def opened(registry: Registry, channel: Channel, base: str) -> OpenHarness:
    @asynccontextmanager
    async def open_harness(workspace: Path, **settings: Any) -> AsyncIterator[CondaHarness]:
        known: dict[str, Any] = {
            "workspace": workspace,
            "pull_auth_file": registry.auth_file,
            "push_auth_file": registry.auth_file,
            "allowed_hosts": frozenset({registry.address, channel.url.removeprefix("http://")}),
            "build_timeout": timedelta(seconds=120),
            "conda_own_layer_size": 1,
        }
        conda_settings = CondaSettings(**(known | settings))
        async with (
            open_session(Policy(conda_settings.allowed_hosts)) as session,
            CondaEngine.open(conda_settings, session) as engine,
        ):
            yield CondaHarness(engine, registry, channel, base)

    return open_harness


@pytest.fixture
async def harness(opened: OpenHarness, tmp_path: Path) -> AsyncIterator[CondaHarness]:
    async with opened(tmp_path / "workspace") as harness:
        yield harness
