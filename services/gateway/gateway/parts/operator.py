"""The parts of the operator's API, connected."""

from gateway.access.revoke import Revocations
from gateway.access.vault import Vault
from gateway.adapters.access.grants import RedisGrants
from gateway.adapters.audit.pseudonyms import Pseudonyms
from gateway.adapters.builds.events import RevocationEvents
from gateway.adapters.operate.audit import StoredTrail
from gateway.adapters.operate.backends import BackendUse
from gateway.adapters.operate.dead_letters import StreamDeadLetters
from gateway.adapters.operate.organisations import StoredOrganisations
from gateway.app import OperatorParts
from gateway.audit.events import NO_AUDIT, Audit
from gateway.connections import Connections
from gateway.operate.audit import AuditTrail
from gateway.operate.dead_letters import DeadLetters
from gateway.operate.organisations import OrganisationRemoval
from gateway.operate.queues import QueueQueries
from gateway.operate.storage import StorageQueries
from gateway.operate.tokens import TokenRevocations
from gateway.operate.workers import WorkerOperations
from swell.store.backlog import RedisBacklog
from swell.store.queue_view import QueueView
from swell.store.registries import SeenRegistries
from swell.store.workers.running_workers import Workers


def operator_parts(connections: Connections, revocations: Revocations, vault: Vault, audit: Audit) -> OperatorParts:
    redis, stream = connections.redis, connections.nats.stream
    workers = Workers(redis)
    buckets = {"layers": connections.layers, "logs": connections.logs, "reports": connections.reports}
    return OperatorParts(
        WorkerOperations(workers, audit),
        QueueQueries(QueueView(redis), RedisBacklog(redis)),
        DeadLetters(StreamDeadLetters(stream), audit),
        TokenRevocations(RedisGrants(redis), revocations),
        StorageQueries(BackendUse(redis, stream, buckets), workers, SeenRegistries(redis)),
        AuditTrail(None if audit is NO_AUDIT else StoredTrail(connections.nats, Pseudonyms(redis))),
        OrganisationRemoval(
            StoredOrganisations(redis, RevocationEvents(connections.nats), connections.logs, connections.reports),
            revocations,
            vault,
            audit,
        ),
    )
