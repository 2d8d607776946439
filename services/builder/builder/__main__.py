"""Opens the builder's connections, wires its parts, and consumes jobs."""

import asyncio
import os
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from builder.adapters.attachments import StoredSboms
from builder.adapters.worker_capabilities import CapabilityRouter, missing_emulators
from builder.attest.builds import Attester
from builder.attest.scans import ScanAttester
from builder.choose_engine import NoEngine
from builder.handlers.solver import SolverHandler
from builder.parts import (
    Backends,
    Installed,
    Runners,
    health_of,
    open_attester,
    open_backends,
    open_engines,
    open_registries,
    open_runners,
)
from builder.settings import Settings
from swell.concurrency.drain import Drain
from swell.jobs.consume import consume
from swell.jobs.messages import (
    BuildDone,
    BuildJob,
    IndexJob,
    MirrorJob,
    MirrorPlanJob,
    SbomStored,
    ScanDone,
)
from swell.jobs.pause import Pause
from swell.jobs.streams import Nats
from swell.jobs.worker_report import WorkerReport
from swell.observe.operator_port import operator_port
from swell.observe.otlp import exporting
from swell.rpc.server import answering
from swell.rpc.v1.solver_pb2_grpc import add_SolverServicer_to_server
from swell.serve import address, run_service
from swell.store import s3_objects
from swell.store.builds import RedisBuilds
from swell.store.scans import RedisScans
from swell.store.workers.capabilities import WorkerCapabilities
from swell.store.workers.engines import EngineNames
from swell.store.workers.running_workers import Workers

INDEXES = 200  # at a time; they only wait for other builds
ATTESTED_AT_ONCE = 4  # builds
PLANS = 4  # of mirrors, at a time


async def main(settings: Settings, drain: Drain) -> None:
    os.umask(0o022)  # steps are other users, who read some files of their sandboxes; the workspace itself is private
    async with AsyncExitStack() as opened:
        operator = await opened.enter_async_context(operator_port("builder", settings.operator_listen))
        await opened.enter_async_context(exporting("builder", settings.traces_url))
        backends = await open_backends(settings, opened)
        registries = await open_registries(settings, backends.nats, opened)
        installed = await open_engines(settings, backends, registries, opened)
        builds = RedisBuilds(backends.state, settings.record_ttl)
        runners = await open_runners(settings, backends, registries, installed, builds)
        solver = SolverHandler(installed.packages.solving, installed.packages.solving)
        health = health_of(backends.state, backends.nats, installed.steps, installed.containers, drain)
        await opened.enter_async_context(
            answering(
                address(settings.listen),
                lambda server: add_SolverServicer_to_server(solver, server),
                settings=settings.rpc,
                health=health,
                drain=drain,
            )
        )
        operator.ready = health.ready
        await installed.steps.try_one()
        async with asyncio.TaskGroup() as tasks:
            if attester := await open_attester(settings, builds, registries.pushes, backends.logs):
                reports = await opened.enter_async_context(
                    s3_objects.connect(settings.s3, settings.s3.reports_bucket, settings.ca_file)
                )
                scans = RedisScans(backends.state, settings.record_ttl)
                scanned = ScanAttester(scans, builds, StoredSboms(reports), attester)
                tasks.create_task(attest_builds(backends.nats, attester, scanned))
            tasks.create_task(installed.steps.try_until_one_runs())
            tasks.create_task(runners.logs.uploads.run())
            tasks.create_task(run_jobs(settings, backends, installed, runners, drain))


async def run_jobs(
    settings: Settings, backends: Backends, installed: Installed, runners: Runners, drain: Drain
) -> None:
    """Run jobs, and publish what this builder can run, until cancelled."""
    nats, state, builds = backends.nats, backends.state, runners.builds
    missing = partial(missing_emulators, settings)
    # Without an engine, builds fail at once.
    held_by = None if isinstance(installed.containers, NoEngine) else installed.steps
    router = CapabilityRouter(WorkerCapabilities(state), missing, EngineNames(state), installed.name, held_by)
    build, slots = partial(router.take, builds.build), settings.build_concurrency
    pause = Pause()
    take = partial(consume, nats.stream, lease=settings.job_lease, give_up=builds.give_up, pause=pause)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(router.publish_forever())
        tasks.create_task(worker_report(settings, Workers(state), router, pause).run())
        tasks.create_task(take("builder-index", IndexJob, builds.build, slots=INDEXES))
        tasks.create_task(
            take("builder-mirror", MirrorJob, runners.mirrors.build, slots=settings.mirror_concurrency, drain=drain)
        )
        tasks.create_task(consume(nats.stream, "builder-mirror-plan", MirrorPlanJob, runners.plans.handle, slots=PLANS))
        tasks.create_task(take("builder", BuildJob, build, slots=slots, drain=drain))


def worker_report(settings: Settings, workers: Workers, router: CapabilityRouter, pause: Pause) -> WorkerReport:
    """The report of this builder to the operator."""
    slots = settings.build_concurrency + settings.mirror_concurrency

    def describe() -> dict[str, Any]:
        return {"slots": slots, **router.describe()}

    folders = {"workspace": settings.workspace}
    return WorkerReport(workers, "builder", settings.listen, describe=describe, folders=folders, pause=pause)


async def attest_builds(nats: Nats, attester: Attester, scanned: ScanAttester) -> None:
    """Sign the images of builds, and attach SBOMs of the scanner, until cancelled."""
    take = partial(consume, nats.stream, slots=ATTESTED_AT_ONCE)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(take("builder-attest", BuildDone, attester.on_build_done, give_up=attester.give_up))
        tasks.create_task(take("builder-attest-scans", ScanDone, scanned.on_scan_done))
        tasks.create_task(take("builder-attest-sboms", SbomStored, scanned.on_sbom_stored))


if __name__ == "__main__":
    run_service("builder", Settings, main, in_loop=asyncio.run)
