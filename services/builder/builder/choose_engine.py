"""Which engine builds container files here: BuildKit, else a buildah without known escapes, else none."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from builder.build import Engine, Recipe, Tell
from builder.buildah.engine import BuildahEngine
from builder.buildah.mounts import UNKNOWN, Version, parse_version
from builder.buildkit import programs
from builder.buildkit.engine import BuildkitEngine, missing_programs
from builder.domain.failure import BuildFailure
from builder.settings import EngineChoice, EngineSettings
from builder.sif.push import Sifs
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.registry.aws import AwsLogins
from swell.registry.client import RegistryClient
from swell.store.records import Reason

SAFE_BUILDAH = Version(1, 38, 1)
"""The first release without known ways out of a build: CVE-2024-1753 (bind mounts through symbolic links),
CVE-2024-9675 (cache mounts) and CVE-2024-11218 (concurrent builds). Distributions that mend an older release keep its
number, so such a release is chosen by `SWELL_ENGINE=buildah` only."""


class NoEngine:
    """Says what the operator must do; builds of packages do not come here."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def find(self, _: Recipe) -> None:
        """Builds end with their builder."""

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:  # noqa: ARG002
        raise BuildFailure(Reason.ENGINE, f"This server builds no container files: {self._why}.")


@asynccontextmanager
async def open_engine(
    settings: EngineSettings,
    sifs: Sifs | None = None,
    aws: AwsLogins | None = None,
    registry: RegistryClient | None = None,
) -> AsyncIterator[tuple[str, Engine]]:
    """The engine that `settings.engine` chooses, and its name and version. *registry* is asked which base images
    anybody may read.

    Raises:
        Unavailable: the engine that the operator named cannot work here.
    """
    found = programs.find()
    if settings.engine is EngineChoice.BUILDKIT and found is None:
        raise Unavailable("BuildKit is missing: run `make engine`, or put buildkitd and buildctl on the PATH")
    if settings.engine is EngineChoice.BUILDKIT or (settings.engine is EngineChoice.AUTO and _can_use(found)):
        assert found is not None  # noqa: S101  (see above)
        async with BuildkitEngine.open(settings, found, sifs, aws, registry) as buildkit:
            name = await _named(str(found.buildkitd), "--version")
            log.info("engine chosen", engine=name)
            yield name, buildkit
        return
    version = buildah_version()
    if settings.engine is EngineChoice.BUILDAH or version >= SAFE_BUILDAH:
        async with BuildahEngine.open(settings, sifs, aws, registry=registry) as buildah:
            name = f"buildah {version}"
            log.info("engine chosen", engine=name)
            yield name, buildah
        return
    why = "BuildKit is missing, and buildah has known escapes" if version > UNKNOWN else "BuildKit is missing"
    log.warning("no engine for container files", reason=why, remedy="make engine, or SWELL_ENGINE=buildah")
    yield "none", NoEngine(f"{why}. The operator can run `make engine`")


def _can_use(found: programs.Programs | None) -> bool:
    if found and (missing := missing_programs()):
        log.warning("BuildKit cannot be used here", missing=missing)
        return False
    return found is not None


def buildah_version() -> Version:
    """The version of the machine's buildah; `UNKNOWN` if it is missing."""
    program = shutil.which("buildah")
    if program is None:
        return UNKNOWN
    output = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout  # noqa: S603
    return parse_version(output)


async def _named(program: str, option: str) -> str:
    said = subprocess.run([program, option], capture_output=True, text=True, check=False, timeout=10).stdout  # noqa: S603, ASYNC221
    words = said.split()
    return f"buildkit {words[2].removeprefix('v')}" if len(words) > 2 else "buildkit"
