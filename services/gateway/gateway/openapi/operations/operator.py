"""Operations for operators: workers, queues, dead letters, tokens, registries and storage."""

from typing import Any

from gateway.openapi import examples
from gateway.openapi.operations.operation import CLIENT, CURSOR, LIMIT, SERVICE, Operation, get, post
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

_PATH = "/v1alpha2/operator"
_TAG = "operator"
_ERRORS = (400, 403, 429, 503)
_ONE = (400, 403, 404, 429, 503)


def _list(path: str, summary: str, description: str, answer: Any, *query: str) -> Operation:
    return get(
        f"{_PATH}{path}",
        summary,
        f"{description} In pages of at most 100.",
        _TAG,
        answer,
        query=(*query, CURSOR, LIMIT),
        errors=_ERRORS,
        account=True,
    )


def _change(method: str, path: str, summary: str, description: str, answer: Any) -> Operation:
    return Operation(
        method=method,
        path=f"{_PATH}{path}",
        summary=summary,
        description=description,
        tag=_TAG,
        answer=answer,
        errors=_ONE,
        account=True,
    )


OPERATOR = (
    _list(
        "/workers",
        "List workers",
        "The builders, scanners and registry-proxies that have reported in the last minute, by id.",
        WorkerPage,
        SERVICE,
    ),
    get(
        f"{_PATH}/workers/{{workerId}}",
        "Get a worker",
        "A worker that has reported in the last minute.",
        _TAG,
        Worker,
        errors=_ONE,
        account=True,
    ),
    _change(
        "post",
        "/workers/{workerId}/drain",
        "Drain a builder",
        "Within 10 seconds, the builder takes no more builds and mirrors; those that run there end. It answers solver "
        "requests as before, and stays drained after a restart.",
        Worker,
    ),
    _change(
        "post",
        "/workers/{workerId}/resume",
        "End the drain of a builder",
        "Within 10 seconds, the builder takes builds and mirrors again.",
        Worker,
    ),
    _list(
        "/queue",
        "Show the queue",
        "How many builds and mirrors wait and run, and the clients whose they are. Names of clients are hashed.",
        QueuePage,
    ),
    _list(
        "/queue/builds",
        "List builds in the queue",
        "The builds and mirrors of a client: first those that were released, in the order of their release, then those "
        "that wait. Builds that end meanwhile move the others forward, so a later page may lack some.",
        QueuedBuildPage,
        CLIENT,
    ),
    _list(
        "/dead-letters",
        "List dead letters",
        "Jobs and events that no worker could handle, oldest first.",
        DeadLetterPage,
    ),
    _change(
        "post",
        "/dead-letters/{number}/replay",
        "Replay a dead letter",
        "Publishes the job or event again, and deletes the dead letter.",
        DeadLetterRecord,
    ),
    _change(
        "delete",
        "/dead-letters/{number}",
        "Discard a dead letter",
        "Deletes the dead letter. The record of its build stays as it is.",
        DeadLetterRecord,
    ),
    post(
        f"{_PATH}/tokens/revoke",
        "Revoke tokens",
        "Revokes the tokens of a user, an organisation, an image or a build: about 1,000 in a request, within about 5 "
        "seconds. With `next` in the response, send the request again with it as `cursor`.",
        _TAG,
        RevocationAnswer,
        RevocationRequest,
        examples=examples.REVOCATIONS,
        errors=(400, 403, 413, 429, 503),
        account=True,
    ),
    post(
        f"{_PATH}/organisations/remove",
        "Remove an organisation",
        "Removes the credentials, webhooks, API keys, sessions, tokens, ended builds with their logs, and scans of an "
        "organisation, and the names of its users from the audit trail; for about 5 seconds. With `next` in the "
        "response, send the request again with it as `cursor`.",
        _TAG,
        RemovalAnswer,
        RemovalRequest,
        examples=examples.REMOVALS,
        errors=(400, 403, 413, 429, 503),
        account=True,
    ),
    _list(
        "/registries",
        "List registries",
        "The registries that have answered this server, at most 1,000, by name.",
        SeenRegistryPage,
    ),
    _list(
        "/audit",
        "List the events of the audit trail",
        "Newest first, with the names of users that were not removed. The chain is not verified. 501 without a trail.",
        AuditPage,
    ),
    get(
        f"{_PATH}/storage",
        "Show what is stored",
        "The memory of Redis, the streams of NATS, the objects in S3, and the disks of workers. Objects are counted at "
        "most once a minute, and at most 10,000 below a prefix.",
        _TAG,
        StorageUse,
        errors=(403, 429, 503),
        account=True,
    ),
)
