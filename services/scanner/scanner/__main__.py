"""Opens the scanner's connections, wires its parts, and consumes jobs."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path

from prometheus_client import Gauge
from yarl import URL

from scanner.adapters.database import VulnerabilityDatabase
from scanner.adapters.events import ScanEvents, ScanJobs, ScanLeases
from scanner.adapters.images import RegistryImages
from scanner.adapters.mirror import HttpMirror
from scanner.adapters.policy_file import PolicyFile
from scanner.adapters.programs import SCANS_FOLDER, Programs, is_possible
from scanner.adapters.reports import BuildLocks, Reports
from scanner.build_sboms import BuildSboms
from scanner.catalogue import Catalogue
from scanner.database_update import DatabaseUpdates, age_of
from scanner.dispatch import Dispatcher
from scanner.domain.failure import ScanFailure
from scanner.rematch import Rematcher
from scanner.scan import ScanRunner
from scanner.settings import Settings, ToolChoice
from scanner.tools.anchore import ENVIRONMENT, Anchore, GrypeUnpacker, find_programs
from scanner.tools.common import version_of
from scanner.tools.protocol import ScanTool
from scanner.tools.trivy import Trivy, TrivyUnpacker
from swell import programs as installed
from swell.concurrency.drain import Drain
from swell.concurrency.periodic import every
from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.consume import Redelivery, consume
from swell.jobs.messages import BuildDone, ScanDone, ScanJob
from swell.jobs.pause import Pause
from swell.jobs.streams import Nats
from swell.jobs.user_credentials import user_credentials
from swell.jobs.worker_report import WorkerReport
from swell.log import log
from swell.net.outbound import Policy, open_session
from swell.observe.backend_checks import nats_check, redis_check, s3_check
from swell.observe.health import Check, Health
from swell.observe.operator_port import OperatorPort, operator_port
from swell.observe.otlp import exporting
from swell.registry.client import RegistryClient
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Keyring, parse_auth_file
from swell.registry.credentials.user_credentials import UserCredentials
from swell.rpc.server import answering
from swell.serve import address, run_service
from swell.store import s3_objects
from swell.store.builds import RedisBuilds
from swell.store.connections import redis
from swell.store.reports import SBOMS, SCANS
from swell.store.s3_objects import S3Objects
from swell.store.scans import RedisScans
from swell.store.workers.engines import ScannerNames
from swell.store.workers.running_workers import Workers

NAME = "scanner"
REPUBLISH_INTERVAL, PUBLISH_INTERVAL = timedelta(seconds=30), timedelta(seconds=30)
SBOM_TRIES = Redelivery(most=20, longest_pause=timedelta(minutes=5))  # over about an hour
"""Deliveries of an event for an SBOM, over about an hour: its registry or a backend is unavailable, or syft fails."""
SPARE_DAYS = 7  # reports stay longer than the records that name them
DATABASE_AGE = Gauge("swell_scan_database_age_seconds", "Age of the vulnerability database; +Inf if it is missing.")


async def main(settings: Settings, drain: Drain) -> None:
    """Serve until cancelled. Without the programs of a scan, the scanner is not ready, and says why."""
    os.umask(0o022)  # programs of a scan are other users, who read files of their sandboxes
    async with AsyncExitStack() as opened:
        operator = await opened.enter_async_context(operator_port(NAME, settings.operator_listen))
        await opened.enter_async_context(exporting(NAME, settings.traces_url))
        paths = find_programs() if settings.scan_tool is ToolChoice.ANCHORE else installed.find("scanners", "trivy")
        missing = "syft and grype are not installed: run `make scanners`"
        if settings.scan_tool is ToolChoice.TRIVY:
            missing = "trivy is not on the PATH"
        problem = is_possible() if paths else missing
        if paths is None or problem:
            log.warning("images are not scanned", reason=problem)
            health = Health({"scans": [impossible(problem)]}, drain=drain)
            await opened.enter_async_context(
                answering(address(settings.listen), settings=settings.rpc, health=health, drain=drain)
            )
            operator.ready = health.ready
            await asyncio.Event().wait()
        else:
            await serve(settings, paths, opened, operator, drain)


def impossible(why: str) -> Check:
    """A check that fails because of *why*."""

    async def fail() -> None:
        raise Unavailable(why)

    return Check("scans", fail)


async def serve(
    settings: Settings, paths: Sequence[Path], opened: AsyncExitStack, operator: OperatorPort, drain: Drain
) -> None:
    """Consume jobs with the programs *paths* until cancelled."""
    state = await opened.enter_async_context(redis.connect(settings.redis, settings.ca_file))
    nats = await opened.enter_async_context(streams.connect(settings.nats, NAME, settings.ca_file))
    reports_bucket = s3_objects.connect(settings.s3, settings.s3.reports_bucket, settings.ca_file)
    store = await opened.enter_async_context(reports_bucket)
    await set_expiry(store, settings.record_ttl.days + SPARE_DAYS)
    programs = opened.enter_context(Programs.open(settings))
    tool, database = await open_tool(settings, programs, paths)
    client = await open_registry_client(settings, nats, opened)
    scans, builds = RedisScans(state, settings.record_ttl), RedisBuilds(state, settings.record_ttl)
    reports = Reports(store, tool.family, settings.record_ttl / 2)
    images = RegistryImages(client, settings.scan_workspace / SCANS_FOLDER, settings.scan_image_limit)
    catalogue = Catalogue(tool, images, reports)
    leases, events = ScanLeases(state, settings.job_lease), ScanEvents(nats)
    runner = ScanRunner(
        tool,
        scans,
        builds,
        catalogue,
        reports,
        leases,
        events,
        time_limit=settings.scan_timeout,
        most_findings=settings.scan_findings,
        policy=PolicyFile(settings.scan_policy_file).current,
    )
    rematcher = Rematcher(tool, scans, reports, runner, leases, events)
    updates = await open_updates(settings, database, rematcher, opened)
    await updates.check()
    health = Health({"scans": [redis_check(state), nats_check(nats), s3_check(store)]}, drain=drain)
    await opened.enter_async_context(
        answering(address(settings.listen), settings=settings.rpc, health=health, drain=drain)
    )
    operator.ready = health.ready
    log.info("scanner ready", tool=tool.name)
    dispatcher, names = Dispatcher(scans, builds, ScanJobs(nats), events), ScannerNames(state)
    async with asyncio.TaskGroup() as tasks:
        if settings.build_sboms:
            bucket = s3_objects.connect(settings.s3, settings.s3.logs_bucket, settings.ca_file)
            locks = BuildLocks(await opened.enter_async_context(bucket))
            sboms = BuildSboms(catalogue, builds, scans, locks, events, settings.scan_timeout)
            tasks.create_task(list_packages_of_builds(settings, nats, sboms))
        tasks.create_task(
            consume_jobs(
                settings, nats, runner, dispatcher, rematcher, updates, names, Workers(state), tool.name, drain
            )
        )


async def open_registry_client(settings: Settings, nats: Nats, opened: AsyncExitStack) -> RegistryClient:
    """Open a client of registries, with the credentials of users and of the operator."""
    session = await opened.enter_async_context(open_session(Policy(settings.allowed_hosts), settings))
    return RegistryClient(
        session,
        keyring(settings, user_credentials(nats)),
        settings.insecure_registries,
        aws=AwsLogins(session, settings),
    )


async def list_packages_of_builds(settings: Settings, nats: Nats, sboms: BuildSboms) -> None:
    """List the packages of one build at a time, beside scans, until cancelled; and those that a scan has not listed."""
    take = partial(consume, nats.stream, lease=settings.job_lease, redelivery=SBOM_TRIES)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take("scanner-sboms", BuildDone, sboms.on_build_done, give_up=sboms.give_up))
        tasks.create_task(take("scanner-sboms-of-scans", ScanDone, sboms.on_scan_done, give_up=sboms.give_up_scan))


async def consume_jobs(
    settings: Settings,
    nats: Nats,
    runner: ScanRunner,
    dispatcher: Dispatcher,
    rematcher: Rematcher,
    updates: DatabaseUpdates,
    names: ScannerNames,
    workers: Workers,
    name: str,
    drain: Drain,
) -> None:
    """Run the loops of the scanner until cancelled."""

    async def republish() -> None:
        if count := await dispatcher.republish_lost():
            log.warning("lost scan jobs published again", count=count)

    pause = Pause()
    report = WorkerReport(
        workers,
        NAME,
        settings.listen,
        describe=lambda: {"engine": name, "slots": settings.scan_concurrency},
        folders={"workspace": settings.scan_workspace},
        pause=pause,
    )
    interval = settings.scan_database_interval
    take = partial(consume, nats.stream, lease=settings.job_lease)
    scans = partial(take, slots=settings.scan_concurrency, drain=drain, give_up=runner.give_up, pause=pause)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(every(PUBLISH_INTERVAL, lambda: names.publish(name), event="scanner not published"))
        tasks.create_task(every(REPUBLISH_INTERVAL, republish, event="lost scans not published"))
        tasks.create_task(every(interval, updates.check, event="database not updated", first=False))
        tasks.create_task(rematcher.run())
        tasks.create_task(take("scanner-builds", BuildDone, dispatcher.build_done, slots=4))
        tasks.create_task(report.run())
        tasks.create_task(scans(NAME, ScanJob, runner.scan))


async def open_tool(
    settings: Settings, programs: Programs, paths: Sequence[Path]
) -> tuple[ScanTool, VulnerabilityDatabase]:
    """Return the tool, after a trial run of its programs *paths*, and its database.

    Raises:
        Unavailable: they do not run here.
    """
    try:
        name = ", ".join([await version_of(programs, path, ENVIRONMENT) for path in paths])
    except ScanFailure as error:
        raise Unavailable(f"images cannot be scanned here: {error}") from error
    is_trivy = settings.scan_tool is ToolChoice.TRIVY
    database = VulnerabilityDatabase(
        settings.scan_workspace / f"database-{settings.scan_tool}",
        programs,
        TrivyUnpacker() if is_trivy else GrypeUnpacker(paths[1]),
        settings.scan_database_age,
        settings.scan_database_limit,
    )
    if is_trivy:
        return Trivy(programs, paths[0], database, name), database
    return Anchore(programs, paths[0], paths[1], database, name), database


async def open_updates(
    settings: Settings, database: VulnerabilityDatabase, rematcher: Rematcher, opened: AsyncExitStack
) -> DatabaseUpdates:
    """Return the updates, with a session that may reach the mirror that the operator names."""
    mirror = None
    if url := settings.scan_database_url:
        policy = Policy(settings.allowed_hosts | {URL(url).authority})
        session = await opened.enter_async_context(open_session(policy, settings))
        mirror = HttpMirror(session, url, settings.scan_database_limit)
    return DatabaseUpdates(
        database,
        mirror,
        settings.scan_database_file,
        settings.scan_workspace,
        rematcher.database_changed,
        lambda state: DATABASE_AGE.set_function(partial(age_of, state)),
    )


def keyring(settings: Settings, users: UserCredentials) -> Keyring:
    """Read the operator's credentials, which are used by the rules of the registry-proxy; *users* has the others."""
    file = settings.registry_auth_file
    rules = settings.credential_rules
    return parse_auth_file(file.read_bytes(), rules.may_read, users) if file else Keyring(users=users)


async def set_expiry(store: S3Objects, days: int) -> None:
    """Have the object store remove reports and unused SBOMs; log a warning if it does not support that."""
    try:
        await store.expire(SCANS, days)
        await store.expire(SBOMS, days)
    except Unavailable as error:
        log.warning("reports stay forever: the object store accepts no lifecycle rule", error=str(error))


if __name__ == "__main__":
    run_service(NAME, Settings, main, in_loop=asyncio.run)
