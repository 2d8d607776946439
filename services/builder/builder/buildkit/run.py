"""Running buildctl for one build: once, or again while the registry does not accept the image."""

from collections.abc import Sequence

from msgspec import Struct

from builder.adapters.commands import drop
from builder.buildkit.build import exporting, secret_file
from builder.buildkit.build_files import BuildFiles
from builder.buildkit.daemons.pool import Lease
from builder.buildkit.failures.build_failure import GroupEvents, failure_of
from builder.buildkit.limits import watched
from builder.buildkit.network.egress import EgressProxy
from builder.buildkit.network.push_gateway import PushGateway
from builder.buildkit.output import follow
from builder.buildkit.progress import EXPORT, Progress
from builder.domain.failure import BuildFailure
from builder.domain.time_limit import retry_push
from builder.engine import Recipe, WriteLine, WriteStep, ignore_step
from builder.settings import EngineSettings
from builder.unpushed import Keeping, UnpushedImages
from swell.api.builds import BuildStep


class BuildRun(Struct, frozen=True, kw_only=True):
    """Runs `command` with the files of one build in the daemon of `lease`; `names` are replaced in its output.

    `unpushed` stores the image for other builders while the registry fails; `logins` open base images.
    """

    settings: EngineSettings
    recipe: Recipe
    lease: Lease
    files: BuildFiles
    gateway: PushGateway
    proxy: EgressProxy
    logins: bytes
    names: Sequence[tuple[bytes, bytes]]
    command: Sequence[str]
    unpushed: UnpushedImages | None = None

    async def until_pushed(self, write_line: WriteLine, write_step: WriteStep) -> Progress:
        """Build and push; return the progress of the steps.

        While the registry fails, the image is pushed again: BuildKit has the results of all steps.

        Raises:
            BuildFailure: a step fails, or the registry does not accept the image within the time of the build.
        """
        outputs = iter([(write_line, write_step)])  # of the first run; the others only repeat it

        async def run() -> Progress:
            return await self._run(self.command, *next(outputs, (drop, ignore_step)))

        keeping = Keeping(self.recipe, self.unpushed, self.files.path / "result/image", self._export)
        progress = await retry_push(run, keeping.keep)
        await keeping.forget()
        return progress

    async def _export(self) -> bool:
        """Write the image into a layout from which it can be stored; return whether that is possible."""
        if self.recipe.sif:
            return False
        try:
            await self._run(exporting(self.command, self.files), drop, ignore_step)
        except BuildFailure:  # for example, layers of a base image in the registry that fails
            return False
        return True

    async def _run(self, command: Sequence[str], write_line: WriteLine, write_step: WriteStep) -> Progress:
        daemon, progress = self.lease.daemon, Progress()
        before, self.gateway.registry.trouble = GroupEvents.of(daemon), None

        async def pass_on(step: BuildStep) -> None:
            if step.name == EXPORT:
                self.gateway.expect_push()
            await write_step(step)

        secrets = {secret_file(name): content for name, content in self.recipe.secrets.items()}
        async with watched(daemon, self.settings, progress), daemon.client(command, self.logins, secrets) as client:
            result = await follow(client, progress, write_line, pass_on, self.names, lambda: self.gateway.is_pushed)
        if result.status:
            raise failure_of(result, before, self.lease, progress, self.gateway, self.proxy, self.settings)
        return progress
