"""An operation of the HTTP API, and the usual kinds of them."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.http.errors import ErrorBody
from gateway.openapi import examples
from swell.api.builds import Cancellation, CancelRequest
from swell.errors import BuildEnded, MediaTypeUnsupported, NotYours, RequestSlow, SwellError

Examples = Mapping[str, Mapping[str, Any]]

DATE, ORGANISATION, ARCHITECTURE = "date", "org", "arch"
IMAGE, CURSOR, LIMIT = "image", "cursor", "limit"
USER = "user"
CLIENT, SERVICE = "client", "service"
LEASE_ID = "leaseId"
SCAN_PLATFORM = "platform"
REFERRERS = "referrers"
REGISTRY_ERRORS = (400, 403, 404, 413, 502, 503, 504)  # of operations that read from a registry
SUBMIT_ERRORS = (*REGISTRY_ERRORS, 401, 429, 501)


class Operation(Struct, frozen=True, kw_only=True):
    """The operation *method* on *path*, which has `{parameters}`.

    *answer* and *body* are the types of the JSON bodies; *examples* are bodies by their titles. The parameters in
    *query* are optional, unless they are in *required*. With *events*, the response may also be server-sent events;
    these are the types of their JSON data by their names, besides events of plain text.
    An operation that needs an *account* answers 401 without a body to others. A *personal* one needs an account, or the
    token of a user. *errors* are the other statuses of
    failures, or the failures if a status has several; *error* is the type of their bodies.
    """

    method: str
    path: str
    summary: str
    description: str
    tag: str
    answer: Any
    status: int = 200
    media_type: str = "application/json"
    body: Any = None
    examples: Examples = {}
    query: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    events: Mapping[str, Any] = {}
    errors: tuple[int | type[SwellError], ...] = ()
    error: Any = ErrorBody
    account: bool = False
    personal: bool = False
    deprecated: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether the operator can limit who reads it: see `gateway.domain.access.record_access`."""
        is_record = self.tag in {"containers", "builds", "mirrors", "scans"} and not (self.account or self.personal)
        return self.method == "get" and is_record and not self.path.endswith("/status")


def get(path: str, summary: str, description: str, tag: str, answer: Any, **more: Any) -> Operation:
    """A GET that answers JSON."""
    return Operation(method="get", path=path, summary=summary, description=description, tag=tag, answer=answer, **more)


def post(path: str, summary: str, description: str, tag: str, answer: Any, body: Any, **more: Any) -> Operation:
    """A POST with a JSON body, which every one limits in the same way."""
    return Operation(
        method="post",
        path=path,
        summary=summary,
        description=f"{description} The body has at most 24 MiB.",
        tag=tag,
        answer=answer,
        body=body,
        errors=(*more.pop("errors"), RequestSlow, MediaTypeUnsupported),
        **more,
    )


def text(path: str, summary: str, description: str, tag: str, **more: Any) -> Operation:
    """A GET that answers plain text."""
    return get(path, summary, description, tag, str, media_type="text/plain", **more)


def cancel(kind: str, description: str) -> Operation:
    """The POST that cancels a *kind*: `build` or `mirror`."""
    return post(
        f"/v1alpha1/{kind}s/{{{kind}Id}}/cancel",
        f"Cancel a {kind}",
        description,
        f"{kind}s",
        Cancellation,
        CancelRequest,
        examples=examples.CANCEL,
        errors=(400, 401, NotYours, 404, BuildEnded, 413, 429, 503),
    )
