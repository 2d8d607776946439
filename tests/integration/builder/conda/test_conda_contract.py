"""The conda-direct engine keeps the contract too. It runs nothing of the user's: what it begins are transfers."""

import hashlib
import random
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from builder.conda.engine import CondaEngine
from builder.engine import Recipe
from builder.settings import CondaSettings
from swell.api.package_layers import PackageLayers
from swell.net.outbound import Policy, open_session
from swell.registry.credentials.principal import OPERATOR
from tests.integration.builder.conda.channel import ENDLESS, PLACEHOLDER, Channel, File, Made, serving
from tests.integration.builder.contract import DISK, MEMORY, SLEEPERS, EngineContract, Subject, asleep, new_build_id
from tests.integration.builder.harness import Output, Registry

__all__ = ["asleep"]

BUILDER = """
import asyncio, sys
from pathlib import Path
from msgspec import json
from builder.conda.engine import CondaEngine
from builder.engine import Recipe
from builder.settings import CondaSettings
from swell.net.outbound import Policy, open_session

async def write_line(line): pass

async def main(workspace, auth, hosts, recipe):
    options = {"pull_auth_file": Path(auth), "push_auth_file": Path(auth), "allowed_hosts": frozenset(hosts.split())}
    settings = CondaSettings(workspace=Path(workspace), **options)
    async with open_session(Policy(settings.allowed_hosts)) as session, CondaEngine.open(settings, session) as engine:
        await engine.build(json.decode(recipe, type=Recipe), write_line)

asyncio.run(main(*sys.argv[1:]))
"""


class Direct:
    def __init__(self, registry: Registry, channel: Channel, base: str) -> None:
        self.registry = registry
        self._channel = channel
        self._base = base
        self._hosts = frozenset({registry.address, channel.url.removeprefix("http://")})

    @asynccontextmanager
    async def open(self, workspace: Path, **settings: Any) -> AsyncIterator[CondaEngine]:
        known: dict[str, Any] = {"pull_auth_file": self.registry.auth_file, "push_auth_file": self.registry.auth_file}
        conda_settings = CondaSettings(workspace=workspace, allowed_hosts=self._hosts, **(known | settings))
        async with (
            open_session(Policy(conda_settings.allowed_hosts)) as session,
            CondaEngine.open(conda_settings, session) as engine,
        ):
            yield engine

    def builder(self, workspace: Path, recipe: Recipe) -> tuple[str, ...]:
        options = (str(workspace), str(self.registry.auth_file), " ".join(self._hosts))
        return (sys.executable, "-c", BUILDER, *options, msgspec.json.encode(recipe).decode())

    def good(self, said: str, made: str = "made:1") -> Recipe:
        """A lock file is logged, and stored in the image, with its comments."""
        return self._recipe(f"# {said}", self._package(Made("tool", files={"share/tool": File(b"tool\n")})), made=made)

    def has_said(self, said: str, output: Output) -> bool:
        return f"# {said}".encode() in output or any(line.startswith(f"fetched {said}-".encode()) for line in output)

    def bad(self) -> Recipe:
        return self._recipe("no lock")

    def baseless(self) -> Recipe:
        return self._recipe(base=f"{self.registry.address}/missing:1")

    def private(self) -> Recipe:
        return self._recipe()

    def loud(self, size: int) -> Recipe:
        return self._recipe(f"# {'x' * size}")

    def endless(self, seconds: int) -> Recipe:
        begun = self._package(Made("begun"))
        return self._recipe(begun, *self._endless(seconds, SLEEPERS), build_id=f"bd-{seconds}_1")

    def running(self, seconds: int) -> int:
        return self._channel.waiting(f"-{seconds}.conda")

    def nosy(self) -> Recipe:
        """Nothing is run; all that the engine itself says must do."""
        return self._recipe(*(self._package(Made(f"part-{number}")) for number in range(6)))

    def hungry(self) -> Recipe:
        """A file is held in memory while the prefix in it is changed."""
        file = File(PLACEHOLDER.encode() + bytes(MEMORY), placeholder=PLACEHOLDER, file_mode="binary")
        return self._recipe(self._package(Made("hungry", files={"lib/hungry.so": file})))

    def greedy(self, seconds: int) -> Recipe:
        content = random.Random(seconds).randbytes(DISK + (8 << 20))  # noqa: S311 (it only must not be packed smaller)
        large = self._package(Made("large", files={"share/large": File(content)}))
        return self._recipe(large, *self._endless(seconds, 1), build_id=f"bd-{seconds}_1")

    def _endless(self, seconds: int, count: int) -> list[str]:
        """Packages that the channel never gives in full."""
        names = [f"{ENDLESS}-{number}-{seconds}" for number in range(count)]
        return [f"{self._channel.url}/linux-64/{name}.conda#sha256:{_sha256(name.encode())}" for name in names]

    def _package(self, made: Made) -> str:
        self._channel.add(made)
        content = (self._channel.folder / made.subdir / made.file_name).read_bytes()
        return f"{self._channel.url}/linux-64/{made.file_name}#sha256:{_sha256(content)}"

    def _recipe(self, *lock: str, base: str = "", made: str = "made:1", build_id: str = "") -> Recipe:
        packages = PackageLayers(base_image=base or self._base, lock="\n".join((*lock, "@EXPLICIT")))
        target_image = f"{self.registry.address}/{made}"
        return Recipe(
            principal=OPERATOR,
            push_principal=OPERATOR,
            build_id=build_id or new_build_id(),
            target_image=target_image,
            containerfile="FROM scratch",
            packages=packages,
        )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class TestConda(EngineContract):
    @pytest.fixture
    def subject(self, registry: Registry, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
        with serving(tmp_path_factory.mktemp("channel")) as channel:
            yield Direct(registry, channel, base)
