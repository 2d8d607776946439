"""A trial: one real step in a daemon, which shows whether builds can run here."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from builder.buildkit.build_files import BuildFiles
from builder.domain import trial
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from swell.disk import in_thread
from swell.store.records import Reason

_OUTPUT = 300  # characters of the message

Client = Callable[[list[str]], AbstractAsyncContextManager[asyncio.subprocess.Process]]


@asynccontextmanager
async def trial_recipe(workspace: Path) -> AsyncIterator[Recipe | None]:
    """Yield the recipe of the trial, whose program is a file in *workspace*; None on a machine without a program."""
    content = trial.program(os.uname().machine)
    if content is None:
        yield None
        return
    path = workspace / f"trial.{os.getpid()}"
    await in_thread(path.write_bytes, content)
    try:
        yield Recipe(
            build_id="trial", target_image="trial", containerfile=trial.CONTAINERFILE, files={trial.PROGRAM: path}
        )
    finally:
        await in_thread(path.unlink, missing_ok=True)


async def run_trial(files: BuildFiles, client: Client) -> None:
    """Build the recipe of *files* with *client*; the result is not stored.

    Raises:
        BuildFailure: the step did not run; the message has the end of the output.
    """
    folders = (f"--local={name}={files.seen}/{name}" for name in ("context", "dockerfile"))
    command = ["build", "--progress=plain", "--no-cache", "--frontend=dockerfile.v0", *folders]
    async with client([*command, "--opt=cmdline=docker/dockerfile"]) as process:
        output, _ = await process.communicate()
    if process.returncode:
        raise BuildFailure(Reason.ENGINE, " ".join(output.decode(errors="replace").split())[-_OUTPUT:])
