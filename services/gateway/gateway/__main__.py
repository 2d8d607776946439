"""Opens the connections of the gateway, wires its parts, and serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from gateway.adapters.audit.local_journal import LocalJournal
from gateway.adapters.builds.jobs import JobQueue
from gateway.adapters.builds.log_streams import LogStreams
from gateway.adapters.counters.pull_counter import Journal, PullCounter
from gateway.adapters.counters.pull_journal import PullJournal
from gateway.adapters.health import GatewayHealth
from gateway.adapters.oidc.open import open_providers
from gateway.app import create_app
from gateway.connections import open_connections
from gateway.handlers.access.pairing import PairingHandler
from gateway.http.edge import Edge
from gateway.parts.audit import open_audit
from gateway.parts.background import dispatch_builds, follow_events, follow_policy, renew_runs
from gateway.parts.builds import build_parts
from gateway.parts.identity import open_identity_parts
from gateway.parts.notices import open_notices
from gateway.parts.operator import operator_parts
from gateway.parts.pairing import pairing_handler
from gateway.parts.platforms import open_platforms
from gateway.parts.pulls import registry_handler
from gateway.parts.requests import container_parts
from gateway.parts.service import service_parts
from gateway.parts.shared import Shared, create_shared
from gateway.parts.vault import open_vault
from gateway.settings import Settings
from gateway.submit.builds.dispatch import Dispatcher
from gateway.workers import end_with_parent, run_workers
from swell.concurrency.drain import Drain
from swell.net.http import ConnectionLimit, listening
from swell.observe.operator_port import operator_port
from swell.observe.otlp import exporting
from swell.serve import address, run_service


async def main(settings: Settings, drain: Drain) -> None:
    """Serve until cancelled. The HTTP server stops first, so that the last pulls are still counted."""
    if settings.gateway_workers > 1:
        await run_workers(settings, drain)
        return
    if settings.gateway_worker:
        end_with_parent()
    async with (
        operator_port("gateway", settings.operator_listen) as operator,
        exporting("gateway", settings.traces_url, settings.trace_sampling),
        open_connections(settings) as connections,
        open_audit(settings, connections) as audit,
        open_vault(settings, connections, audit) as vault,
        open_platforms(settings, connections, vault.use) as platforms,
        open_providers(settings) as providers,
        open_notices(settings, connections, drain, audit) as notices,
    ):
        shared = create_shared(settings, connections, platforms, audit)
        build_ended = asyncio.Event()
        await follow_events(connections, shared, build_ended)
        dispatcher = Dispatcher(shared.builds, JobQueue(connections.nats), settings.builds_at_once)
        journal: Journal = PullJournal(connections.redis)
        if settings.journal:
            journal = LocalJournal(settings.journal, journal)
        pull_counter = PullCounter(connections.nats.stream, journal)
        identity = await open_identity_parts(settings, connections, shared, platforms.identities, providers, vault.use)
        health = GatewayHealth(connections, shared.grants, drain)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pull_counter.publish_counts())
            tasks.create_task(dispatch_builds(dispatcher, build_ended))
            tasks.create_task(follow_policy(shared))
            tasks.create_task(renew_runs(shared, connections, platforms))
            watchers = {"most": settings.watchers, "most_of_one": settings.watchers_of_build}
            async with LogStreams(connections.nats, shared.build_waiter, **watchers) as log_streams:
                pairing = pairing_handler(settings, shared, platforms)
                parts = settings, shared, connections, dispatcher, identity.callers
                containers = container_parts(*parts, pull_counter.count_hit, notices.follow, vault.secrets)
                app = create_app(
                    registry_handler(settings, shared, pull_counter, vault.use),
                    containers,
                    build_parts(shared, connections, log_streams),
                    service_parts(settings, connections, identity, vault, notices.store, health),
                    identity.callers,
                    operator_parts(connections, containers.revocations, vault.vault, shared.audit),
                    read_access=shared.read_access,
                    audit=shared.audit,
                    pairing=pairing,
                    tls=settings.server_url.startswith("https://"),
                )
                async with serving(app, settings, shared, drain, pairing, log_streams):
                    operator.ready = health.ready
                    await asyncio.Event().wait()


@asynccontextmanager
async def serving(
    app: Edge, settings: Settings, shared: Shared, drain: Drain, pairing: PairingHandler | None, log_streams: LogStreams
) -> AsyncIterator[None]:
    """Serve while the block runs; then let requests end within the drain, and close what would stay open."""
    limit = ConnectionLimit(settings.connections_per_address, shared.client_address.of_connection)
    websockets, shares = pairing is not None, settings.gateway_worker > 0
    async with listening(app, address(settings.listen), limit=limit, websockets=websockets, drain=drain, shared=shares):
        try:
            yield
        finally:
            if drain.is_started:
                app.start_drain()
                await drain.until(partial(app.running.is_quiet, drain.quiet))
            if pairing:
                pairing.close()
            log_streams.close()  # otherwise their clients would stay connected until the server's timeout


if __name__ == "__main__":
    run_service("gateway", Settings, main)
