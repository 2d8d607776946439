"""Start the BuildKit engine: take the workspace, and prove that a daemon starts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from builder.adapters.inputs.auth_files import AuthFiles
from builder.buildkit.daemons.daemon import FOLDER_NAME, open_daemon
from builder.buildkit.daemons.pool import DaemonPool
from builder.buildkit.daemons.programs import Programs
from builder.buildkit.daemons.requirements import CannotStart, missing_programs, prove, registrations
from builder.buildkit.engine import BuildkitEngine
from builder.settings import EngineSettings
from builder.sif.push import Sifs
from builder.unpushed import UnpushedImages
from swell.disk import in_thread
from swell.net.outbound import Policy, open_session
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell_sandbox.workspace import can_limit, clean, lock

_FOLDERS = ("builds", FOLDER_NAME, "networks")


@asynccontextmanager
async def open_buildkit(
    settings: EngineSettings,
    programs: Programs,
    sifs: Sifs | None = None,
    aws: AwsLogins | None = None,
    registry: RegistryClient | None = None,
    unpushed: UnpushedImages | None = None,
) -> AsyncIterator[BuildkitEngine]:
    """Take the workspace, remove what an earlier process left there, and prove that a daemon starts.

    *sifs* makes SIF files of what was built. Without *aws*, AWS keys open no registry. *registry* is
    asked which base images are public. *unpushed* stores images while their registry fails.

    Raises:
        CannotStart: the machine lacks something.
        Unavailable: another builder has the workspace.
    """
    workspace = settings.workspace
    for name in _FOLDERS:
        (workspace / name).mkdir(parents=True, exist_ok=True)
    with lock(workspace):
        await in_thread(clean, workspace, _FOLDERS)
        if missing := missing_programs():
            raise CannotStart(f"builds cannot run here: {', '.join(missing)} is missing")
        limited = can_limit(workspace)
        opening = partial(open_daemon, settings, programs, registrations(settings), limited=limited)
        async with (
            open_session(Policy(settings.allowed_hosts), settings) as session,
            DaemonPool.open(settings, opening) as daemons,
        ):
            credentials = AuthFiles(settings, aws, registry=registry)
            engine = BuildkitEngine(settings, daemons, credentials, session, sifs, unpushed, limited=limited)
            await prove(daemons)
            yield engine
