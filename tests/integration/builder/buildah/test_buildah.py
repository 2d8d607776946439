"""The buildah engine keeps the contract, in each of its isolations."""

import os
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from builder.buildah.engine import BuildahEngine
from builder.engine import Recipe
from builder.settings import Isolation
from swell.registry.credentials.principal import OPERATOR
from swell_sandbox import cgroups
from tests.integration.builder.contract import DISK, MEMORY, EngineContract, Subject, asleep, new_build_id, sleepers
from tests.integration.builder.harness import OpenEngine, Output, Registry

__all__ = ["asleep"]

BUILDER = """
import asyncio, sys
from pathlib import Path
from msgspec import json
from builder.buildah.engine import BuildahEngine
from builder.engine import Recipe
from builder.settings import EngineSettings

async def write_line(line): pass

async def main(workspace, auth, registry, isolation, recipe):
    options = {"pull_auth_file": Path(auth), "allowed_hosts": frozenset({registry}), "isolation": isolation}
    async with BuildahEngine.open(EngineSettings(workspace=Path(workspace), **options)) as engine:
        await engine.build(json.decode(recipe, type=Recipe), write_line)

asyncio.run(main(*sys.argv[1:]))
"""

LOOK = (
    "RUN env; cat /proc/*/environ /proc/*/fd/3; find / -xdev -name '*auth*' -exec cat {} +; "
    "ls -l /proc/*/fd /tmp; true\n"
)


class Buildah:
    def __init__(self, registry: Registry, open_engine: OpenEngine, base: str, isolation: Isolation) -> None:
        self.registry = registry
        self._open_engine = open_engine
        self._base = base
        self._isolation = isolation
        # Buildah's chroot isolation ends a step without waiting for what it still has to hand on of its words.
        self._moment = "sleep 1" if isolation is Isolation.CHROOT else "true"

    def open(self, workspace: Path, **settings: Any) -> AbstractAsyncContextManager[BuildahEngine]:
        return self._open_engine(workspace, isolation=self._isolation, **settings)

    def builder(self, workspace: Path, recipe: Recipe) -> tuple[str, ...]:
        engine_settings = (str(workspace), str(self.registry.auth_file), self.registry.address, self._isolation)
        return (sys.executable, "-c", BUILDER, *engine_settings, msgspec.json.encode(recipe).decode())

    def good(self, said: str, made: str = "made:1") -> Recipe:
        return self._recipe(f"RUN echo {said} | tee /said; {self._moment}; echo\n", made=made)

    def has_said(self, said: str, output: Output) -> bool:
        return said.encode() in output

    def bad(self) -> Recipe:
        return self._recipe("RUN exit 7\n")

    def baseless(self) -> Recipe:
        return self._recipe("RUN true\n", base=f"{self.registry.address}/missing:1")

    def private(self) -> Recipe:
        return self._recipe("RUN true\n")

    def loud(self, size: int) -> Recipe:
        return self._recipe(f"RUN head -c {size} /dev/zero | tr '\\000' x; echo\n")

    def endless(self, seconds: int) -> Recipe:
        escape = f"(sleep {seconds} &); setsid sleep {seconds} >/dev/null 2>&1 & sleep {seconds}"
        return self._recipe(f"RUN echo begun; {escape}\n", build_id=f"bd-{seconds}_1")

    def running(self, seconds: int) -> int:
        return len(sleepers(seconds))

    def nosy(self) -> Recipe:
        return self._recipe(LOOK)

    def hungry(self) -> Recipe:
        return self._recipe(f"RUN dd if=/dev/zero of=/dev/null bs={4 * MEMORY} count=1\n")

    def greedy(self, seconds: int) -> Recipe:
        step = f"dd if=/dev/zero of=/large bs=1M count={(DISK >> 20) + 8}; sleep {seconds}"
        return self._recipe(f"RUN {step}\n", build_id=f"bd-{seconds}_1")

    def _recipe(self, step: str, *, base: str = "", made: str = "made:1", build_id: str = "") -> Recipe:
        target_image = f"{self.registry.address}/{made}"
        containerfile = f"FROM {base or self._base}\n{step}"
        return Recipe(
            principal=OPERATOR,
            push_principal=OPERATOR,
            build_id=build_id or new_build_id(),
            target_image=target_image,
            containerfile=containerfile,
        )


@pytest.fixture(scope="module", autouse=True)
def limits(machine: None) -> None:
    """Control groups can be made here; without them nothing holds a build to its memory."""
    trial = f"swell-trial-{os.getpid()}"
    cgroups.make(trial, memory=1 << 20, pids=1)
    cgroups.remove(trial)


class TestContainers(EngineContract):
    """Each step a container without privileges: the default."""

    @pytest.fixture
    def subject(self, registry: Registry, open_engine: OpenEngine, base: str) -> Subject:
        return Buildah(registry, open_engine, base, Isolation.OCI)


class TestChroot(EngineContract):
    """Where containers cannot run."""

    @pytest.fixture
    def subject(self, registry: Registry, open_engine: OpenEngine, base: str) -> Subject:
        return Buildah(registry, open_engine, base, Isolation.CHROOT)
