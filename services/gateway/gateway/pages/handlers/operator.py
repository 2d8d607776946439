"""`/view/operator`: queues, workers, registries, dead letters, tokens and the audit trail, for operators."""

from collections.abc import Sequence
from typing import Any

from litestar import Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.params import FromPath, FromQuery
from litestar.response import Redirect
from msgspec import convert

from gateway.access.accounts.accounts import Accounts
from gateway.http.caller import Callers
from gateway.operate.audit import AuditTrail
from gateway.operate.dead_letters import DeadLetters
from gateway.operate.queues import QueueQueries
from gateway.operate.storage import StorageQueries
from gateway.operate.tokens import TokenRevocations
from gateway.operate.workers import WorkerOperations
from gateway.pages.forms import read_form
from gateway.pages.rendering import page
from swell.api.operator import RevocationAnswer, RevocationRequest
from swell.errors import BadRequest, NotFound, SwellError

HttpRequest = Request[Any, Any, Any]
Cursor = FromQuery[str | None]
PATH = "/view/operator"
LISTED = 50  # entries in a page
PAGES = (
    ("Queue", PATH),
    ("Workers", f"{PATH}/workers"),
    ("Registries and storage", f"{PATH}/registries"),
    ("Dead letters", f"{PATH}/dead-letters"),
    ("Tokens", f"{PATH}/tokens"),
    ("Accounts", f"{PATH}/accounts"),
    ("Audit", f"{PATH}/audit"),
    ("Usage", "/view/usage"),
)
"""Names and paths of the pages for operators."""


def operator_pages(callers: Callers, accounts: Accounts, further: Sequence[HTTPRouteHandler]) -> Router:
    """The pages, and those of *further*; all need an operator. A form is read first: it has the CSRF token."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        if connection.scope.get("method") != "POST":
            await callers.require_operator(connection.scope, accounts)

    own = [queue, workers, registries, dead_letters, tokens, audit, change_worker, settle, revoke]
    return Router(PATH, route_handlers=[*own, *further], guards=[guard])


def show(template: str, here: str, *, status: int = 200, **values: Any) -> Response[str]:
    return page(f"operator/{template}.html", status=status, here=PATH + here, pages=PAGES, **values)


@get()
async def queue(queues: NamedDependency[QueueQueries], client: FromQuery[str] = "", cursor: Cursor = None) -> Any:
    """The totals, the clients with the most builds, and the builds that were released, or those of a *client*."""
    totals = await queues.page(None, LISTED)
    builds = await queues.builds(client[:200] or None, cursor, LISTED)
    return show("queue", "", totals=totals, client=client[:200], builds=builds.builds, next=builds.next)


@get("/workers")
async def workers(workers: NamedDependency[WorkerOperations], cursor: Cursor = None) -> Any:
    listed = await workers.page(None, cursor, LISTED)
    return show("workers", "/workers", workers=listed.workers, next=listed.next)


@post("/workers/{worker_id:str}/{change:str}", request_max_body_size=None)  # `read_form` limits the size
async def change_worker(
    request: HttpRequest,
    worker_id: FromPath[str],
    change: FromPath[str],
    workers: NamedDependency[WorkerOperations],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Redirect:
    """Drain or resume a builder."""
    _, operator = await _read(request, callers, accounts)
    if change not in {"drain", "resume"}:
        raise NotFound(f"a worker cannot {change[:40]}")
    await workers.set_drained(worker_id, operator, drained=change == "drain")
    return Redirect(f"{PATH}/workers", status_code=303)


@get("/registries")
async def registries(storage_queries: NamedDependency[StorageQueries], cursor: Cursor = None) -> Any:
    listed = await storage_queries.registries(cursor, LISTED)
    use = await storage_queries.use() if cursor is None else None
    return show("registries", "/registries", registries=listed.registries, next=listed.next, use=use)


@get("/dead-letters")
async def dead_letters(dead_letters: NamedDependency[DeadLetters], cursor: Cursor = None) -> Any:
    listed = await dead_letters.page(cursor, LISTED)
    return show("dead_letters", "/dead-letters", letters=listed.dead_letters, next=listed.next)


@post("/dead-letters/{number:int}/{change:str}", request_max_body_size=None)  # `read_form` limits the size
async def settle(
    request: HttpRequest,
    number: FromPath[int],
    change: FromPath[str],
    dead_letters: NamedDependency[DeadLetters],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Redirect:
    """Replay or discard a dead letter."""
    _, operator = await _read(request, callers, accounts)
    match change:
        case "replay":
            await dead_letters.replay(number, operator)
        case "discard":
            await dead_letters.discard(number, operator)
        case _:
            raise NotFound(f"a dead letter cannot be {change[:40]}")
    return Redirect(f"{PATH}/dead-letters", status_code=303)


@get("/tokens")
async def tokens() -> Any:
    return show("tokens", "/tokens", fields={}, answer=None, problem=None)


@post("/tokens", request_max_body_size=None)  # `read_form` limits the size
async def revoke(
    request: HttpRequest,
    token_revocations: NamedDependency[TokenRevocations],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> Any:
    """Count or revoke the tokens that match the form."""
    fields, operator = await _read(request, callers, accounts)
    answer: RevocationAnswer | None = None
    problem: SwellError | None = None
    try:
        answer = await token_revocations.revoke(revocation_request(fields), operator)
    except SwellError as error:
        problem = error
    status = problem.status if problem else 200
    return show("tokens", "/tokens", status=status, fields=fields, answer=answer, problem=problem)


def revocation_request(fields: dict[str, str]) -> RevocationRequest:
    """The request in *fields*, of which the empty ones do not count. Only the button that says so revokes."""
    names = ("user", "organisation", "image", "buildId", "cursor")
    members: dict[str, Any] = {name: fields[name] for name in names if fields.get(name)}
    try:
        return convert(members | {"dryRun": fields.get("action") != "revoke"}, RevocationRequest)
    except ValueError as error:
        raise BadRequest(str(error)) from error


@get("/audit")
async def audit(audit_trail: NamedDependency[AuditTrail], cursor: Cursor = None) -> Any:
    listed = await audit_trail.page(cursor, LISTED)
    return show("audit", "/audit", events=listed.events, next=listed.next)


async def _read(request: HttpRequest, callers: Callers, accounts: Accounts) -> tuple[dict[str, str], str]:
    """The form in *request*, and the name of the operator who has sent it."""
    fields = await read_form(request)
    return fields, await callers.require_operator(request.scope, accounts)
