"""The BuildKit engine keeps the contract."""

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from builder.buildkit.daemons.programs import Programs, find
from builder.buildkit.engine import BuildkitEngine
from builder.buildkit.start import open_buildkit
from builder.engine import Recipe
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from swell.registry.credentials.principal import OPERATOR
from tests.integration.builder.contract import DISK, MEMORY, EngineContract, Subject, asleep, new_build_id, sleepers
from tests.integration.builder.harness import Output, Registry

__all__ = ["asleep"]

BUILDER = """
import asyncio, sys
from pathlib import Path
from msgspec import json
from builder.engine import Recipe
from builder.buildkit.engine import BuildkitEngine
from builder.buildkit.start import open_buildkit
from builder.buildkit.daemons.programs import find
from builder.settings import EngineSettings

async def on_line(line): pass

async def main(workspace, auth, registry, recipe):
    settings = EngineSettings(
        workspace=Path(workspace), pull_auth_file=Path(auth), allowed_hosts=frozenset({registry})
    )
    async with open_buildkit(settings, find()) as engine:
        await engine.build(json.decode(recipe, type=Recipe), on_line)

asyncio.run(main(*sys.argv[1:]))
"""

LOOK = (
    "RUN env; cat /proc/*/environ /proc/*/fd/3; find / -xdev -name '*auth*' -exec cat {} +; "
    "find / -xdev -name 'config.json' -exec cat {} +; ls -l /proc/*/fd /tmp /run; mount; true\n"
)


@pytest.fixture(scope="session")
def programs(machine: None) -> Programs:
    """BuildKit, compiled by `make engine`."""
    found = find()
    if found is None:
        pytest.fail("these tests need BuildKit: run `make engine`")
    return found


class Buildkit:
    def __init__(self, registry: Registry, programs: Programs, base: str) -> None:
        self.registry = registry
        self._programs = programs
        self.base = base

    @asynccontextmanager
    async def open(
        self, workspace: Path, *, sifs: Sifs | None = None, **settings: Any
    ) -> AsyncIterator[BuildkitEngine]:
        workspace.mkdir(parents=True, exist_ok=True)
        known: dict[str, Any] = {"pull_auth_file": self.registry.auth_file, "push_auth_file": self.registry.auth_file}
        known |= {"allowed_hosts": frozenset({self.registry.address}), "build_timeout": timedelta(seconds=120)}
        engine_settings = EngineSettings(workspace=workspace, **(known | settings))
        async with open_buildkit(engine_settings, self._programs, sifs) as engine:
            yield engine

    def builder(self, workspace: Path, recipe: Recipe) -> tuple[str, ...]:
        given = (str(workspace), str(self.registry.auth_file), self.registry.address)
        return (sys.executable, "-c", BUILDER, *given, msgspec.json.encode(recipe).decode())

    def good(self, said: str, made: str = "made:1") -> Recipe:
        return self.recipe(f"RUN echo {said} | tee /said\n", made=made)

    def has_said(self, said: str, output: Output) -> bool:
        return re.search(rf"^#\d+ \d+\.\d+ {re.escape(said)}$", output.text, re.MULTILINE) is not None

    def bad(self) -> Recipe:
        return self.recipe("RUN exit 7\n")

    def baseless(self) -> Recipe:
        return self.recipe("RUN true\n", base=f"{self.registry.address}/missing:1")

    def private(self) -> Recipe:
        return self.recipe("RUN true\n")

    def loud(self, size: int) -> Recipe:
        return self.recipe(f"RUN head -c {size} /dev/zero | tr '\\000' x; echo\n")

    def endless(self, seconds: int) -> Recipe:
        escape = f"(sleep {seconds} &); setsid sleep {seconds} >/dev/null 2>&1 & sleep {seconds}"
        return self.recipe(f"RUN echo begun; {escape}\n", build_id=f"bd-{seconds}_1")

    def running(self, seconds: int) -> int:
        return len(sleepers(seconds))

    def nosy(self) -> Recipe:
        return self.recipe(LOOK)

    def hungry(self) -> Recipe:
        return self.recipe(f"RUN dd if=/dev/zero of=/dev/null bs={4 * MEMORY} count=1\n")

    def greedy(self, seconds: int) -> Recipe:
        step = f"dd if=/dev/zero of=/large bs=1M count={(DISK >> 20) + 8}; sleep {seconds}"
        return self.recipe(f"RUN {step}\n", build_id=f"bd-{seconds}_1")

    def recipe(self, steps: str, *, base: str = "", made: str = "made:1", build_id: str = "") -> Recipe:
        target_image = f"{self.registry.address}/{made}"
        containerfile = f"FROM {base or self.base}\n{steps}"
        return Recipe(
            build_id=build_id or new_build_id(),
            target_image=target_image,
            containerfile=containerfile,
            principal=OPERATOR,
            push_principal=OPERATOR,
        )


@pytest.fixture
def buildkit(registry: Registry, programs: Programs, base: str) -> Buildkit:
    return Buildkit(registry, programs, base)


class TestContract(EngineContract):
    @pytest.fixture
    def subject(self, buildkit: Buildkit) -> Subject:
        return buildkit
