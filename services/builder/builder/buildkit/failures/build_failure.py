"""Why a build failed: a limit of its daemon, or what buildctl wrote."""

from typing import Self

from msgspec import Struct

from builder.buildkit.daemons.daemon import Daemon
from builder.buildkit.daemons.pool import Lease
from builder.buildkit.failures.diagnose import diagnose
from builder.buildkit.limits import too_many_processes
from builder.buildkit.network.egress import EgressProxy
from builder.buildkit.network.push_gateway import PushGateway
from builder.buildkit.output import Result
from builder.buildkit.progress import Progress
from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from swell.registry.responses import is_temporary
from swell.store.records import Reason


class GroupEvents(Struct, frozen=True):
    """What the control groups of a daemon have counted since it started."""

    memory_kills: int
    refused_processes: int

    @classmethod
    def of(cls, daemon: Daemon) -> Self:
        return cls(daemon.groups.memory_kills(), daemon.groups.refused_processes())


def failure_of(
    result: Result,
    before: GroupEvents,
    lease: Lease,
    progress: Progress,
    gateway: PushGateway,
    proxy: EgressProxy,
    settings: EngineSettings,
) -> BuildFailure:
    """Return the failure of a build that ended with *result*; *before* was counted when it began.

    The daemon of *lease* is used again if it runs and the fault is the recipe's or a registry's. Addresses that
    *proxy* has refused are part of the message.
    """
    daemon, after = lease.daemon, GroupEvents.of(lease.daemon)
    if after.refused_processes > before.refused_processes:
        return too_many_processes(settings, progress)
    killed = after.memory_kills > before.memory_kills
    refused_push = str(gateway.registry.trouble) if gateway.registry.trouble else ""
    failure = diagnose(
        result.status,
        result.lines,
        killed=killed,
        refused_push=refused_push,
        crashed=not daemon.is_running,
        output=progress.failed_output,
    )
    if failure.reason is Reason.PUSH and gateway.registry.trouble:
        failure.is_temporary = is_temporary(gateway.registry.trouble)
    if failure.reason in {Reason.RECIPE, Reason.BASE_IMAGE, Reason.PUSH} and not killed and daemon.is_running:
        lease.keep()
    if proxy.refused and failure.reason in {Reason.RECIPE, Reason.BASE_IMAGE}:
        message = f"{failure} ({'; '.join(dict.fromkeys(proxy.refused))})"
        return BuildFailure(failure.reason, message, failure.exit_status, output=failure.output)
    return failure
