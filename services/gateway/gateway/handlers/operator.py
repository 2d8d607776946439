"""`/v1alpha2/operator`: what operators see and change. Every route needs an operator's account or token."""

from typing import Any

from litestar import Controller, Request, Router, delete, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, FromQuery

from gateway.access.accounts.accounts import Accounts
from gateway.http.bodies import read
from gateway.http.caller import Callers
from gateway.operate.audit import AuditTrail
from gateway.operate.dead_letters import DeadLetters
from gateway.operate.organisations import OrganisationRemoval
from gateway.operate.queues import QueueQueries
from gateway.operate.storage import StorageQueries
from gateway.operate.tokens import TokenRevocations
from gateway.operate.workers import WorkerOperations
from swell.api.operator import (
    AuditPage,
    DeadLetterPage,
    DeadLetterRecord,
    QueuedBuildPage,
    QueuePage,
    RemovalAnswer,
    RemovalRequest,
    RevocationAnswer,
    RevocationRequest,
    SeenRegistryPage,
    StorageUse,
    Worker,
    WorkerPage,
)

HttpRequest = Request[Any, Any, Any]
Text = FromQuery[str | None]
Number = FromQuery[int | None]
_OPERATOR = "swell.operator"


def operator_router(callers: Callers, accounts: Accounts) -> Router:
    """The routes, with a guard before each of them."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        connection.state[_OPERATOR] = await callers.require_operator(connection.scope, accounts)

    return Router(
        "/v1alpha2/operator",
        route_handlers=[
            WorkersController,
            QueueController,
            DeadLettersController,
            revoke_tokens,
            remove_organisation,
            registries,
            storage,
            audit,
        ],
        guards=[guard],
    )


def operator_of(request: HttpRequest) -> str:
    """The name of the operator whom the guard has found."""
    name: str = request.state[_OPERATOR]
    return name


class WorkersController(Controller):
    path = "/workers"

    @get()
    async def list(
        self,
        workers: NamedDependency[WorkerOperations],
        service: Text = None,
        cursor: Text = None,
        limit: Number = None,
    ) -> WorkerPage:
        return await workers.page(service, cursor, limit)

    @get("/{worker_id:str}")
    async def record(self, worker_id: FromPath[str], workers: NamedDependency[WorkerOperations]) -> Worker:
        return await workers.get(worker_id)

    @post("/{worker_id:str}/drain", status_code=200)
    async def drain(
        self, request: HttpRequest, worker_id: FromPath[str], workers: NamedDependency[WorkerOperations]
    ) -> Worker:
        return await workers.set_drained(worker_id, operator_of(request), drained=True)

    @post("/{worker_id:str}/resume", status_code=200)
    async def resume(
        self, request: HttpRequest, worker_id: FromPath[str], workers: NamedDependency[WorkerOperations]
    ) -> Worker:
        return await workers.set_drained(worker_id, operator_of(request), drained=False)


class QueueController(Controller):
    path = "/queue"

    @get()
    async def clients(
        self, queues: NamedDependency[QueueQueries], cursor: Text = None, limit: Number = None
    ) -> QueuePage:
        return await queues.page(cursor, limit)

    @get("/builds")
    async def builds(
        self,
        queues: NamedDependency[QueueQueries],
        client: Text = None,
        cursor: Text = None,
        limit: Number = None,
    ) -> QueuedBuildPage:
        return await queues.builds(client, cursor, limit)


class DeadLettersController(Controller):
    path = "/dead-letters"

    @get()
    async def list(
        self, dead_letters: NamedDependency[DeadLetters], cursor: Text = None, limit: Number = None
    ) -> DeadLetterPage:
        return await dead_letters.page(cursor, limit)

    @post("/{number:int}/replay", status_code=200)
    async def replay(
        self, request: HttpRequest, number: FromPath[int], dead_letters: NamedDependency[DeadLetters]
    ) -> DeadLetterRecord:
        return await dead_letters.replay(number, operator_of(request))

    @delete("/{number:int}", status_code=200)
    async def discard(
        self, request: HttpRequest, number: FromPath[int], dead_letters: NamedDependency[DeadLetters]
    ) -> DeadLetterRecord:
        return await dead_letters.discard(number, operator_of(request))


@post("/tokens/revoke", status_code=200, request_max_body_size=None)  # `read` limits the size
async def revoke_tokens(request: HttpRequest, token_revocations: NamedDependency[TokenRevocations]) -> RevocationAnswer:
    return await token_revocations.revoke(await read(request, RevocationRequest), operator_of(request))


@post("/organisations/remove", status_code=200, request_max_body_size=None)
async def remove_organisation(
    request: HttpRequest, organisation_removal: NamedDependency[OrganisationRemoval]
) -> RemovalAnswer:
    return await organisation_removal.remove(await read(request, RemovalRequest), operator_of(request))


@get("/registries")
async def registries(
    storage_queries: NamedDependency[StorageQueries], cursor: Text = None, limit: Number = None
) -> SeenRegistryPage:
    return await storage_queries.registries(cursor, limit)


@get("/storage")
async def storage(storage_queries: NamedDependency[StorageQueries]) -> StorageUse:
    return await storage_queries.use()


@get("/audit")
async def audit(audit_trail: NamedDependency[AuditTrail], cursor: Text = None, limit: Number = None) -> AuditPage:
    return await audit_trail.page(cursor, limit)
