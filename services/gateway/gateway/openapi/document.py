"""The OpenAPI document, generated from the operations and the types of their bodies.

Source: OpenAPI Specification 3.1, https://spec.openapis.org/oas/v3.1.0
"""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec

from gateway.openapi.operations import OPERATIONS, Operation
from gateway.openapi.operations.operation import (
    ARCHITECTURE,
    CLIENT,
    CURSOR,
    DATE,
    IMAGE,
    LEASE_ID,
    LIMIT,
    ORGANISATION,
    REFERRERS,
    SERVICE,
    USER,
)
from gateway.openapi.schemas import PROPERTIES, SCHEMAS
from swell.errors import (
    BadRequest,
    Denied,
    NotFound,
    NotReadable,
    NotSupported,
    SwellError,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    UpstreamFailed,
    UpstreamSlow,
)

Json = dict[str, Any]

LAST_EVENT, EVENTS = "Last-Event-ID", "text/event-stream"

_ABOUT = """\
Swell returns names of container images that can be pulled at once: an image with layers added, or one that is built \
first. It implements the API of Seqera Wave, with the same members and values.

Images are pulled with the API of the OCI distribution specification, under `/v2/wt/{token}/`. Each error has a \
`code`, says who can fix it (`side`), and how (`next`). Times are in UTC, durations in seconds, and sizes in bytes."""

_PARAMETERS = {
    "requestId": "`requestId` of the response to the container request.",
    "token": "`containerToken` of the response to the container request.",
    "scanId": "`scanId` of the response to the container request.",
    "buildId": "`buildId` of the response to the container request.",
    "mirrorId": "`buildId` of the response to a container request with `mirror`, or `mirrorId` of a list.",
    "platform": "One platform, such as `linux/arm64`. Without it: the index, or the first scanned platform.",
    "registry": "A registry, such as `quay.io`, or a path below one, such as `quay.io/acme`.",
    "keyId": "`id` of the key.",
    "accountName": "Name of the account.",
    "name": "Name of the webhook.",
    "workerId": "`id` of the worker.",
    "number": "`number` of the dead letter.",
    CLIENT: "`client` of a queue; without it, all builds that were released from their queues.",
    SERVICE: "Only workers of this service: `builder`, `registry-proxy` or `scanner`.",
    USER: "Name of a user; only operators may name another user than themselves.",
    DATE: "A day in UTC, `yyyy-MM-dd`.",
    ORGANISATION: "Name of an organisation, such as `lab.example`.",
    ARCHITECTURE: "`amd64`, `arm64`, or another name of one of them.",
    IMAGE: "`targetImage` of a build, or a container id of 16 hex digits.",
    LEASE_ID: "`leaseId` of the lease.",
    CURSOR: "`next` of the previous page.",
    REFERRERS: "Whether to list what refers to the image: signatures, SBOMs and other artifacts.",
    LIMIT: "Maximum number of entries, 1 to 100; 20 by default.",
    LAST_EVENT: "Id of the last event that the client has; the stream continues after it.",
}
_TYPES = {REFERRERS: "boolean", LIMIT: "integer", "number": "integer"}
_EXAMPLES = {
    "platform": "linux/amd64",
    "registry": "quay.io/acme",
    IMAGE: "c44968632f89dd6c",
    DATE: "2026-11-23",
    ORGANISATION: "example.org",
    ARCHITECTURE: "amd64",
}
_ERRORS: tuple[type[SwellError], ...] = (
    BadRequest,
    Unauthorized,
    Denied,
    NotFound,
    TooLarge,
    TooManyRequests,
    NotSupported,
    UpstreamFailed,
    UpstreamSlow,
    Unavailable,
)
_FAILURES = {cls.status: cls.summary() for cls in _ERRORS}
_NEEDS_ACCOUNT = {
    "description": "The name and the password of an operator's account, or a token that may administer, are needed.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
}
_LIMITED = "The operator limits who may read this, and the client is none of these."
_NEEDS_USER = _NEEDS_ACCOUNT | {"description": "The token of a user, or an operator's account, is needed."}


def make_document(operations: Iterable[Operation] = OPERATIONS) -> Json:
    """The document of *operations*, as JSON values."""
    listed = tuple(operations)
    bodies = {kind for item in listed for kind in (item.answer, item.body, item.error, *item.events.values())}
    types = bodies - {None}
    ordered = sorted(types, key=str)
    generated, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(ordered, generated, strict=True))
    for name, schema in components.items():
        _describe(name, schema)
    paths: dict[str, Json] = {}
    for item in listed:
        paths.setdefault(item.path, {})[item.method] = _operation(item, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Swell",
            "version": version("gateway"),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(item.tag for item in listed)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "account": {"type": "http", "scheme": "basic"},
                "token": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _describe(name: str, schema: Json) -> None:
    """Add the descriptions of the schema *name* and of its properties."""
    schema["description"] = SCHEMAS[name]
    for member, property_schema in schema.get("properties", {}).items():
        property_schema["description"] = PROPERTIES[name][member]


def _operation(operation: Operation, schemas: Mapping[Any, Json]) -> Json:
    fields: Json = {
        "operationId": "-".join([operation.method, *re.findall(r"\w+", operation.path)]),
        "summary": operation.summary,
        "description": operation.description,
        "tags": [operation.tag],
        "responses": _responses(operation, schemas),
    }
    in_path = [_parameter(name, "path", required=True) for name in re.findall(r"{(\w+)}", operation.path)]
    in_query = [_parameter(name, "query", required=name in operation.required) for name in operation.query]
    if parameters := [*in_path, *in_query, *([_parameter(LAST_EVENT, "header")] if operation.events else [])]:
        fields["parameters"] = parameters
    if operation.body is not None:
        examples = {name: {"summary": name, "value": value} for name, value in operation.examples.items()}
        content = {"application/json": {"schema": schemas[operation.body], "examples": examples}}
        fields["requestBody"] = {"required": True, "content": content}
    if operation.account or operation.personal:
        fields["security"] = [{"account": []}, {"token": []}]
    if operation.deprecated:
        fields["deprecated"] = True
    return fields


def _parameter(name: str, place: str, *, required: bool = False) -> Json:
    schema = {"type": _TYPES.get(name, "string")}
    fields: Json = {"name": name, "in": place, "description": _PARAMETERS[name], "schema": schema}
    if required:
        fields["required"] = True
    if name in _EXAMPLES:
        fields["example"] = _EXAMPLES[name]
    return fields


def _responses(operation: Operation, schemas: Mapping[Any, Json]) -> Json:
    success: Json = {"description": "Success."}
    if operation.answer is not None:
        success["content"] = {operation.media_type: {"schema": schemas[operation.answer]}}
    responses = {str(operation.status): success}
    if operation.events:
        # OpenAPI 3.1 has no word for the types of events; an extension names them.
        named = {name: schemas[kind] for name, kind in operation.events.items()}
        success["content"][EVENTS] = {"schema": schemas[operation.answer], "x-events": named}
        responses["204"] = {"description": "The client has the last event already."}
    if operation.account:
        responses["401"] = _NEEDS_ACCOUNT
    if operation.personal:
        responses["401"] = _NEEDS_USER
    if operation.is_limited:
        error = {"application/json": {"schema": schemas[operation.error]}}
        responses |= {
            str(cls.status): {"description": _LIMITED, "content": error} for cls in (Unauthorized, NotReadable)
        }
    for failure in operation.errors:
        content = {"application/json": {"schema": schemas[operation.error]}}
        status, description = (
            (failure, _FAILURES[failure]) if isinstance(failure, int) else (failure.status, failure.summary())
        )
        responses[str(status)] = {"description": description, "content": content}
    return dict(sorted(responses.items()))
