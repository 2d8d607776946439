"""The OpenAPI document, made of the operations and of the types of their bodies.

Source: OpenAPI Specification 3.1.
"""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import Any

import msgspec

from gateway.openapi.operations import ARCHITECTURE, DATE, OPERATIONS, ORGANISATION, Operation
from swell.errors import (
    BadRequest,
    Denied,
    NotFound,
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

_ABOUT = """\
Swell gives out names of container images that can be pulled at once: an image with something added, or one that is \
built first. It speaks the API of Seqera Wave; the members of bodies and the values that are taken are Wave's.

A pull is the OCI distribution specification's, under `/v2/wt/{token}/`. Every failure is told with a `code`, whose \
side it is on and what to do next."""

_PARAMETERS = {
    "requestId": "as the answer to the container request told it",
    "token": "as the answer to the container request told it, as containerToken",
    "buildId": "as the answer to the container request told it",
    "platform": "one platform, such as linux/arm64; without it an index is told whole",
    DATE: "a day in UTC as yyyy-MM-dd",
    ORGANISATION: "the domain of an organisation's addresses",
    ARCHITECTURE: "amd64, arm64 or another name of one of them",
}
_EXAMPLES = {"platform": "linux/amd64", DATE: "2026-11-23", ORGANISATION: "example.org", ARCHITECTURE: "amd64"}
_TOLD: tuple[type[SwellError], ...] = (
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
_FAILURES = {cls.status: cls.summary() for cls in _TOLD}
_NEEDS_ACCOUNT = {
    "description": "This needs the name and the password of an account.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string"}}},
}


def make_document(operations: Iterable[Operation] = OPERATIONS) -> Json:
    """The document of *operations*, as plain values."""
    listed = tuple(operations)
    types = {kind for each in listed for kind in (each.answer, each.body, each.error) if kind is not None}
    ordered = sorted(types, key=str)
    made, components = msgspec.json.schema_components(ordered, ref_template="#/components/schemas/{name}")
    schemas = dict(zip(ordered, made, strict=True))
    paths: dict[str, Json] = {}
    for each in listed:
        paths.setdefault(each.path, {})[each.method] = _operation(each, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Swell",
            "version": version("gateway"),
            "description": _ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(each.tag for each in listed)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"account": {"type": "http", "scheme": "basic"}},
        },
    }


def _operation(each: Operation, schemas: Mapping[Any, Json]) -> Json:
    told: Json = {
        "operationId": "-".join([each.method, *re.findall(r"\w+", each.path)]),
        "summary": each.summary,
        "tags": [each.tag],
        "responses": _responses(each, schemas),
    }
    in_path = [_parameter(name, "path") for name in re.findall(r"{(\w+)}", each.path)]
    if parameters := [*in_path, *(_parameter(name, "query") for name in each.query)]:
        told["parameters"] = parameters
    if each.body is not None:
        shown = {name: {"summary": name, "value": value} for name, value in each.examples.items()}
        content = {"application/json": {"schema": schemas[each.body], "examples": shown}}
        told["requestBody"] = {"required": True, "content": content}
    if each.account:
        told["security"] = [{"account": []}]
    if each.deprecated:
        told["deprecated"] = True
    return told


def _parameter(name: str, place: str) -> Json:
    told: Json = {"name": name, "in": place, "description": _PARAMETERS[name], "schema": {"type": "string"}}
    if place == "path":
        told["required"] = True
    if name in _EXAMPLES:
        told["example"] = _EXAMPLES[name]
    return told


def _responses(each: Operation, schemas: Mapping[Any, Json]) -> Json:
    good: Json = {"description": "As asked."}
    if each.answer is not None:
        good["content"] = {each.media_type: {"schema": schemas[each.answer]}}
    told = {str(each.status): good}
    if each.account:
        told["401"] = _NEEDS_ACCOUNT
    for status in sorted(each.errors):
        content = {"application/json": {"schema": schemas[each.error]}}
        told[str(status)] = {"description": _FAILURES[status], "content": content}
    return told
