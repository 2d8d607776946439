"""Chooses the engine for container files: BuildKit, or a buildah without known escapes, or none."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from builder.buildah.engine import BuildahEngine
from builder.buildah.mounts import UNKNOWN, Version, parse_version
from builder.buildkit.daemons import programs
from builder.buildkit.daemons.requirements import CannotStart
from builder.buildkit.engine import BuildkitEngine
from builder.buildkit.operators_daemon import OperatorsDaemon, find_buildctl
from builder.buildkit.start import open_buildkit
from builder.domain.failure import BuildFailure
from builder.engine import ContainerEngine, Note, Recipe, WriteLine, WriteStep, ignore, ignore_step
from builder.settings import EngineChoice, EngineSettings
from builder.sif.push import Sifs
from builder.unpushed import UnpushedImages
from swell.errors import Unavailable
from swell.log import log
from swell.oci.digest import Digest
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.store.records import Reason

SAFE_BUILDAH = Version(1, 38, 1)
"""The first release without known escapes: CVE-2024-1753 (bind mounts through symbolic links), CVE-2024-9675 (cache
mounts) and CVE-2024-11218 (concurrent builds). Distributions that fix an older release keep its number, so that such a
release is chosen by `SWELL_ENGINE=buildah` only."""


class NoEngine:
    """Fails every build with a message for the operator; builds of packages use another engine.

    *is_missing* says that no engine is installed, so this builder is for packages only.
    """

    def __init__(self, why: str, *, is_missing: bool) -> None:
        self._why = why
        self.is_missing = is_missing

    async def run_step(self) -> None:
        raise BuildFailure(Reason.ENGINE, self._why)

    async def find(self, _: Recipe) -> None:
        """Builds end with their builder."""

    async def build(
        self, _: Recipe, _line: WriteLine, _step: WriteStep = ignore_step, _note: Note = ignore, /
    ) -> Digest:
        raise BuildFailure(Reason.ENGINE, f"This server cannot build container files: {self._why}.")


@asynccontextmanager
async def open_engine(
    settings: EngineSettings,
    sifs: Sifs | None = None,
    aws: AwsLogins | None = None,
    registry: RegistryClient | None = None,
    unpushed: UnpushedImages | None = None,
) -> AsyncIterator[tuple[str, ContainerEngine]]:
    """Open the engine that `settings.engine` chooses; yield its name with its version, and the engine.

    *registry*, a client without credentials, finds out which base images are public.

    Raises:
        Unavailable: the configured engine cannot run on this machine.
    """
    found = programs.find()
    if settings.buildkit_address:
        if settings.engine is EngineChoice.BUILDAH:
            raise Unavailable("SWELL_ENGINE=buildah and SWELL_BUILDKIT_ADDRESS exclude each other")
        program = find_buildctl(found.buildctl if found else None)
        async with OperatorsDaemon.open(settings, program, sifs, aws, registry) as daemon:
            name = f"buildkit {daemon.version} of the operator"
            log.info("engine chosen", engine=name, address=settings.buildkit_address)
            yield name, daemon
        return
    if settings.engine is EngineChoice.BUILDKIT and found is None:
        raise Unavailable("BuildKit is missing: run `make engine`, or put buildkitd and buildctl on the PATH")
    async with AsyncExitStack() as opened:
        if settings.engine is not EngineChoice.BUILDAH and found is not None:
            opening = open_buildkit(settings, found, sifs, aws, registry, unpushed)
            if buildkit := await _opened(opened, opening, must=settings.engine is EngineChoice.BUILDKIT):
                name = await _named(str(found.buildkitd), "--version")
                log.info("engine chosen", engine=name)
                yield name, buildkit
                return
    version = buildah_version()
    if settings.engine is EngineChoice.BUILDAH or version >= SAFE_BUILDAH:
        async with BuildahEngine.open(settings, sifs, aws, registry=registry, unpushed=unpushed) as buildah:
            name = f"buildah {version}"
            log.info("engine chosen", engine=name)
            yield name, buildah
        return
    lacking = "BuildKit is missing" if found is None else "BuildKit does not start here (the builder's log says why)"
    why = f"{lacking}, and buildah has known escapes" if version > UNKNOWN else lacking
    log.warning("no engine for container files", reason=why, remedy="make engine, or SWELL_ENGINE=buildah")
    yield "none", NoEngine(f"{why}. The operator can run `make engine`", is_missing=found is None)


async def _opened(
    stack: AsyncExitStack, opening: AbstractAsyncContextManager[BuildkitEngine], *, must: bool
) -> BuildkitEngine | None:
    """What *opening* opens, for as long as *stack*; None if BuildKit does not start here, and need not."""
    try:
        return await stack.enter_async_context(opening)
    except CannotStart as error:
        if must:
            raise
        log.warning("BuildKit cannot be used here", reason=str(error))
        return None


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
