"""The parts for builds, their logs and their pages, and scans."""

from gateway.adapters.builds.build_logs import BuildLogs
from gateway.adapters.builds.events import BuildEvents
from gateway.adapters.builds.log_streams import LogStreams
from gateway.adapters.scans import RunningScanners, StoredReports
from gateway.app import BuildParts
from gateway.builds.cancel import Cancellations
from gateway.builds.download import Downloads
from gateway.builds.first_status import FirstStatus
from gateway.builds.log_events import LogEvents
from gateway.builds.mirrors import MirrorQueries
from gateway.builds.of_user import BuildsOfUser
from gateway.builds.queries import BuildQueries
from gateway.builds.sboms import SbomQueries
from gateway.connections import Connections
from gateway.pages.builds import BuildPages
from gateway.pages.differences import Differences
from gateway.parts.shared import Shared
from gateway.scans.queries import ScanQueries
from gateway.scans.status import ScanStatus
from swell.store.workers.engines import ScannerNames


def build_parts(shared: Shared, connections: Connections, log_streams: LogStreams) -> BuildParts:
    logs = BuildLogs(connections.logs, connections.nats.stream)
    reports = StoredReports(connections.reports)
    queries = BuildQueries(
        shared.grants,
        shared.remote_lookup,
        shared.builds,
        logs,
        shared.config.server_url,
        FirstStatus(shared.grants, shared.build_waiter),
        ScanStatus(shared.scans, shared.config.server_url),
    )
    return BuildParts(
        queries,
        MirrorQueries(shared.builds, queries),
        LogEvents(shared.builds, log_streams, logs),
        Cancellations(shared.builds, BuildEvents(connections.nats), audit=shared.audit),
        Downloads(shared.builds, shared.images, shared.access),
        SbomQueries(shared.builds, logs, reports, RunningScanners(ScannerNames(connections.redis))),
        ScanQueries(shared.scans, reports),
        BuildPages(queries, shared.builds, logs, Differences(shared.builds, logs)),
        BuildsOfUser(shared.users_builds, shared.builds),
    )
