"""Convert an image that BuildKit has built to a SIF file."""

from builder.adapters.workspace import as_build_failure
from builder.buildkit.build_files import BuildFiles
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from swell.disk import in_thread
from swell.oci.digest import Digest
from swell.store.records import Reason
from swell_sandbox import Sandbox, cgroups
from swell_sandbox.process import Tail
from swell_sandbox.sandbox import new_directory
from swell_sandbox.workspace import dispose, group_prefix


async def push_sif(
    sifs: Sifs | None,
    recipe: Recipe,
    files: BuildFiles,
    tail: Tail,
    settings: EngineSettings,
    *,
    limited: bool,
) -> Digest:
    """Convert the image in *files* to a SIF file in a sandbox of its own, push it, and return its manifest's digest.

    With *limited*, the conversion has the limits of memory and processes of a build.

    Raises:
        BuildFailure: the builder makes no SIF files, the conversion failed, or the registry refused the file.
    """
    if sifs is None:
        raise BuildFailure(Reason.ENGINE, "This builder makes no SIF files.")
    with as_build_failure():
        directory = new_directory(settings.workspace / "builds", f"{recipe.build_id}.")
    group = group_prefix(settings.workspace) + directory.name
    try:
        limits = {"memory": settings.build_memory, "pids": settings.build_pids}
        groups = cgroups.make(group, **limits) if limited else ()
        sandbox = Sandbox(directory=directory, user_id=settings.first_user_id, cgroups=groups)
        with as_build_failure():
            await in_thread(sandbox.prepare)
            (files.path / "result/image").rename(sandbox.work / "image")
        return await sifs.push(sandbox, "work/image", recipe, tail)
    finally:
        await in_thread(dispose, directory, group)
