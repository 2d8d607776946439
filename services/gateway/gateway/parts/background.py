"""Work that a gateway does besides answering requests."""

import asyncio
from datetime import timedelta

from gateway.adapters.access.leases import RedisLeases
from gateway.connections import Connections
from gateway.parts.platforms import PlatformParts
from gateway.parts.shared import Shared
from gateway.platform.run_leases import CHECK_DUE, RunLeases
from gateway.submit.builds.dispatch import Dispatcher
from swell.concurrency.notifier import wait_at_most
from swell.concurrency.periodic import every
from swell.errors import Unavailable
from swell.jobs.consume import subscribe
from swell.jobs.messages import BuildDone, ScanDone, TokenRevoked
from swell.log import log

REAP_INTERVAL = timedelta(seconds=5)
POLICY_INTERVAL = timedelta(seconds=1)


async def follow_events(connections: Connections, shared: Shared, build_ended: asyncio.Event) -> None:
    """Subscribe to events of builds, tokens and scans, for as long as the connection to NATS is open."""
    await subscribe(connections.nats, BuildDone, shared.build_waiter.on_build_done)
    await subscribe(connections.nats, BuildDone, lambda _: build_ended.set())
    await subscribe(connections.nats, TokenRevoked, shared.grants.on_revoked)
    if shared.scan_gate:
        await subscribe(connections.nats, ScanDone, shared.scan_gate.on_scan_done)


async def dispatch_builds(dispatcher: Dispatcher, build_ended: asyncio.Event) -> None:
    """Dispatch waiting builds after each end of a build, and every 5 s also lost ones, until cancelled."""
    task = asyncio.current_task()
    while not (task and task.cancelling()):  # the Redis client may swallow a cancellation
        try:
            await dispatcher.dispatch()
            if not build_ended.is_set() and (count := await dispatcher.republish_lost()):
                log.warning("lost build jobs published again", count=count)
        except Unavailable as error:
            log.warning("waiting builds not dispatched", error=str(error))
        await wait_at_most(REAP_INTERVAL.total_seconds(), build_ended)
        build_ended.clear()


async def follow_policy(shared: Shared) -> None:
    """Read the policy again when its file changes, until cancelled: pulls use it without a look at the file."""
    await every(POLICY_INTERVAL, shared.policies.refresh, event="policy not read again")


async def renew_runs(shared: Shared, connections: Connections, platforms: PlatformParts) -> None:
    """Renew the tokens of live runs until cancelled."""
    leases, terms = RedisLeases(connections.redis), shared.config.lease_terms
    runs = RunLeases(leases, platforms.workspaces, platforms.client, terms)
    await every(min(CHECK_DUE, terms.check), runs.renew_due, event="tokens of runs not renewed")
