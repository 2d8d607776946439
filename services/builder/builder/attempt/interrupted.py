"""Continue a build whose builder stopped: it may still run elsewhere, or its image may have been pushed."""

from typing import Protocol

from builder.domain.failure import BuildFailure
from builder.engine import Engine, ExistingBuild, Recipe, WriteLine
from swell.jobs.messages import BuildJob, IndexJob
from swell.oci.digest import Digest
from swell.registry.credentials.principal import Principal


class Log(Protocol):
    async def write_line(self, line: bytes) -> None: ...


class Registry(Protocol):
    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        """Return the digest of *target_image*, read with the credentials of *principal*; raises `BuildFailure`."""


class Unpushed(Protocol):
    async def push(self, recipe: Recipe, write_line: WriteLine) -> Digest | None:
        """Push the image of *recipe*, if an earlier build has made it and could not push it; raises `BuildFailure`."""


class InterruptedBuilds:
    """Finds what an earlier attempt of a build, or an earlier build of the same inputs, has left."""

    def __init__(self, engine: Engine, registry: Registry, unpushed: Unpushed) -> None:
        self._engine = engine
        self._registry = registry
        self._unpushed = unpushed

    async def find_running(self, recipe: Recipe | BuildFailure | None, attempt: int) -> ExistingBuild | None:
        """Return the build of *recipe* that an earlier attempt started and that its engine still runs.

        Raises:
            Unavailable: the place where builds run does not respond.
        """
        if attempt == 1 or not isinstance(recipe, Recipe):
            return None
        return await self._engine.find(recipe)

    async def find_image(self, job: BuildJob | IndexJob, recipe: Recipe, attempt: int, build_log: Log) -> Digest | None:
        """Return the digest of the image if it was made before, and push it if it was not pushed."""
        if attempt > 1 and (digest := await self._find_pushed(job, attempt, build_log)):
            return digest
        is_first = job.id.endswith("_1") or (isinstance(job, BuildJob) and job.is_rebuild)
        if attempt == 1 and is_first:
            return None  # no earlier build has made it, or it must be made anew
        return await self._unpushed.push(recipe, build_log.write_line)

    async def _find_pushed(self, job: BuildJob | IndexJob, attempt: int, build_log: Log) -> Digest | None:
        """Return the digest of the image if the last attempt has pushed it; write to the log what was found.

        None if an earlier build has pushed the tag: it may still name that build's image.
        """
        is_proof = not (isinstance(job, BuildJob) and (job.is_repeated or job.is_rebuild))
        if is_proof and (digest := await self._pushed(job)):
            message = b"(the builder stopped in the middle of this build, after it had pushed the image)"
            await build_log.write_line(message)
            return digest
        message = f"(the builder stopped in the middle of this build; attempt {attempt} begins)".encode()
        await build_log.write_line(message)
        return None

    async def _pushed(self, job: BuildJob | IndexJob) -> Digest | None:
        """Return the digest of the pushed image; None also while the registry fails: then the image is made again."""
        try:
            return await self._registry.pushed(job.target_image, job.push_principal)
        except BuildFailure as failure:
            if not failure.is_temporary:
                raise
            return None
