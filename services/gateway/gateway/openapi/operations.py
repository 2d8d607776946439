"""What the gateway can be asked over HTTP, one row an operation; the pulls under `/v2` are the distribution spec's."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.handlers.metrics import MetricAnswer
from gateway.http.errors import ErrorBody
from gateway.openapi import examples
from swell.api.builds import BuildPage, BuildRecord, BuildStatus, Cancellation, CancelRequest, ContainerStatus
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest, TokenDescription
from swell.api.inspect import CredentialsRequest, Inspection, InspectRequest, LegacyCredentialsRequest
from swell.errors import BuildEnded, MediaTypeUnsupported, NotYours, RequestSlow, SwellError

Examples = Mapping[str, Mapping[str, Any]]

DATE, ORGANISATION, ARCHITECTURE = "date", "org", "arch"
IMAGE, CURSOR, LIMIT = "image", "cursor", "limit"
_REGISTRIES = (400, 403, 404, 413, 502, 503, 504)  # what may go wrong where a registry must be asked
_SUBMIT = (*_REGISTRIES, 401, 429, 501)


class Operation(Struct, frozen=True, kw_only=True):
    """*path* with its `{parameters}`; the types are those of JSON bodies. *examples* are bodies by their summary.

    Of the parameters in *query* those in *must* are needed. An answer may also come as *events*. An operation that
    needs an *account* answers 401 without a body to everybody else; *errors* are the other statuses of failures, or the
    failures where a status has several, each with an *error* as its body.
    """

    method: str
    path: str
    summary: str
    tag: str
    answer: Any
    status: int = 200
    media_type: str = "application/json"
    body: Any = None
    examples: Examples = {}
    query: tuple[str, ...] = ()
    must: tuple[str, ...] = ()
    events: bool = False
    errors: tuple[int | type[SwellError], ...] = ()
    error: Any = ErrorBody
    account: bool = False
    deprecated: bool = False


def _get(path: str, summary: str, tag: str, answer: Any, **more: Any) -> Operation:
    return Operation(method="get", path=path, summary=summary, tag=tag, answer=answer, **more)


def _post(path: str, summary: str, tag: str, answer: Any, body: Any, **more: Any) -> Operation:
    errors = (*more.pop("errors"), RequestSlow, MediaTypeUnsupported)
    return Operation(
        method="post", path=path, summary=summary, tag=tag, answer=answer, body=body, errors=errors, **more
    )


def _metric(version: str, name: str) -> Operation:
    is_old = version == "v1alpha2"
    return _get(
        f"/{version}/metrics/{name}",
        f"How many {name.replace('/', ' ')} there were, on a day or ever",
        "metrics",
        MetricAnswer,
        query=(DATE, ORGANISATION) if is_old else (DATE, ORGANISATION, ARCHITECTURE),
        errors=(400, 429, 503),
        account=True,
        deprecated=is_old,
    )


CONTAINERS = (
    _post(
        "/v1alpha2/container",
        "Ask for a container: an image as it is or with something added, or one that is built",
        "containers",
        ContainerAnswer,
        ContainerRequest,
        examples=examples.CONTAINERS,
        errors=_SUBMIT,
    ),
    _get(
        "/v1alpha2/container/{requestId}",
        "What was asked for, and what became of it",
        "containers",
        ContainerRecord,
        errors=(404, 503),
    ),
    _get(
        "/v1alpha2/container/{requestId}/status",
        "How far the container is",
        "containers",
        ContainerStatus,
        errors=(404, 503),
    ),
    _post(
        "/container-token",
        "Ask for a container, in the first version of the API",
        "containers",
        ContainerAnswer,
        ContainerRequest,
        examples=examples.FIRST_VERSION,
        errors=_SUBMIT,
        deprecated=True,
    ),
    _get(
        "/container-token/{token}",
        "What was asked for, in the first version's form",
        "containers",
        TokenDescription,
        errors=(404, 503),
    ),
    Operation(
        method="delete",
        path="/container-token/{token}",
        summary="Take a token away before its time",
        tag="containers",
        answer=None,
        errors=(404, 429, 503),
        account=True,
    ),
)

BUILDS = (
    _get(
        "/v1alpha1/builds",
        "The builds of an image, newest first",
        "builds",
        BuildPage,
        query=(IMAGE, CURSOR, LIMIT),
        must=(IMAGE,),
        errors=(400, 503),
    ),
    _get("/v1alpha1/builds/{buildId}", "What a build was asked", "builds", BuildRecord, errors=(404, 503)),
    _get("/v1alpha1/builds/{buildId}/status", "How far a build is", "builds", BuildStatus, errors=(404, 503)),
    _get(
        "/v1alpha1/builds/{buildId}/logs",
        "What a build said: all of it or, while it runs, what there is so far; as events, lines as they come",
        "builds",
        str,
        media_type="text/plain",
        events=True,
        errors=(400, 404, 503),
    ),
    _get(
        "/v1alpha1/builds/{buildId}/sif",
        "The SIF file that a build has made: a redirect to its bytes, which can be asked for in part",
        "builds",
        None,
        status=307,
        errors=(403, 404, 502, 503),
    ),
    _get(
        "/v1alpha1/builds/{buildId}/condalock",
        "The exact packages that a build has put in",
        "builds",
        str,
        media_type="text/plain",
        errors=(404, 503),
    ),
    _post(
        "/v1alpha1/builds/{buildId}/cancel",
        "Leave a build; when nobody else wants it, it is cancelled",
        "builds",
        Cancellation,
        CancelRequest,
        examples=examples.CANCEL,
        errors=(400, 401, NotYours, 404, BuildEnded, 413, 429, 503),
    ),
)

REGISTRIES = (
    _post(
        "/v1alpha1/inspect",
        "What an image is made of, and how it runs",
        "registries",
        Inspection,
        InspectRequest,
        examples=examples.INSPECT,
        query=("platform",),
        errors=(*_REGISTRIES, 401),
    ),
    _post(
        "/v1alpha2/validate-creds",
        "Whether a registry takes a name and a password",
        "registries",
        bool,
        CredentialsRequest,
        examples=examples.CREDENTIALS,
        errors=(400, 413, 502, 503, 504),
    ),
    _post(
        "/validate-creds",
        "Whether a registry takes a name and a password, wrapped",
        "registries",
        bool,
        LegacyCredentialsRequest,
        examples={name: {"request": body} for name, body in examples.CREDENTIALS.items()},
        errors=(400, 413, 502, 503, 504),
        deprecated=True,
    ),
)

METRICS = tuple(
    _metric(version, name)
    for version in ("v1alpha3", "v1alpha2")
    for name in ("builds", "pulls", "fusion/pulls", "mirrors", "scans")
)

SERVICE = (
    _get("/service-info", "Which version this is", "service", dict[str, dict[str, str]]),
    *(
        _get(path, "Whether the server can work", "service", dict[str, str], errors=(503,), error=dict[str, str])
        for path in ("/health", "/health/readiness")
    ),
    _get("/robots.txt", "That crawlers need not come", "service", str, media_type="text/plain"),
    _get("/health/liveness", "Whether the server runs", "service", dict[str, str]),
)

OPERATIONS = (*CONTAINERS, *BUILDS, *REGISTRIES, *METRICS, *SERVICE)
