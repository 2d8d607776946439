"""Continue a build whose builder stopped: it may still run elsewhere, or its image may have been pushed."""

from typing import Protocol

from builder.domain.failure import BuildFailure
from builder.engine import Engine, ExistingBuild, Recipe
from swell.jobs.messages import BuildJob, IndexJob
from swell.oci.digest import Digest
from swell.registry.principal import Principal


class Log(Protocol):
    async def write_line(self, line: bytes) -> None: ...


class Registry(Protocol):
    async def pushed(self, target_image: str, principal: Principal) -> Digest | None:
        """Return the digest of *target_image*, read with the credentials of *principal*; raises `BuildFailure`."""


class InterruptedBuilds:
    """Finds what an earlier attempt of a build has left."""

    def __init__(self, engine: Engine, registry: Registry) -> None:
        self._engine = engine
        self._registry = registry

    async def find_running(self, recipe: Recipe | BuildFailure | None, attempt: int) -> ExistingBuild | None:
        """Return the build of *recipe* that an earlier attempt started and that its engine still runs.

        Raises:
            Unavailable: the place where builds run does not respond.
        """
        if attempt == 1 or not isinstance(recipe, Recipe):
            return None
        return await self._engine.find(recipe)

    async def find_pushed(self, job: BuildJob | IndexJob, attempt: int, build_log: Log) -> Digest | None:
        """Return the digest of the image if the last attempt has pushed it; write to the log what was found.

        None if an earlier build has pushed the tag: it may still name that build's image.
        """
        is_proof = not (isinstance(job, BuildJob) and (job.is_repeated or job.is_rebuild))
        if is_proof and (digest := await self._registry.pushed(job.target_image, job.push_principal)):
            message = b"(the builder stopped in the middle of this build, after it had pushed the image)"
            await build_log.write_line(message)
            return digest
        message = f"(the builder stopped in the middle of this build; attempt {attempt} begins)".encode()
        await build_log.write_line(message)
        return None
