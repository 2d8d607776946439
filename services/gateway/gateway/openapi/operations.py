"""The operations of the HTTP API, one row each; pulls under `/v2` are in the OCI distribution-spec."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from gateway.handlers.metrics import MetricAnswer
from gateway.http.errors import ErrorBody
from gateway.openapi import examples
from swell.api.builds import (
    BuildEnd,
    BuildPage,
    BuildRecord,
    BuildStatus,
    BuildStep,
    Cancellation,
    CancelRequest,
    ContainerStatus,
)
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest, TokenDescription
from swell.api.credentials import StoredCredential, StoredCredentials, StoreRequest
from swell.api.health import HealthStatus
from swell.api.inspect import CredentialsRequest, Inspection, InspectRequest, LegacyCredentialsRequest
from swell.api.keys import IssuedKeyAnswer, KeyChange, KeyPage, KeyRecord, KeyRequest
from swell.api.leases import LeaseAnswer, ReturnedLease
from swell.api.mirrors import MirrorAnswer, MirrorRecord, MirrorRequest
from swell.api.scans import AffectedList, ScanRecord
from swell.errors import BuildEnded, MediaTypeUnsupported, NotYours, RequestSlow, SwellError

Examples = Mapping[str, Mapping[str, Any]]

DATE, ORGANISATION, ARCHITECTURE = "date", "org", "arch"
IMAGE, CURSOR, LIMIT = "image", "cursor", "limit"
USER = "user"
LEASE_ID = "leaseId"
SCAN_PLATFORM = "platform"
_REGISTRY_ERRORS = (400, 403, 404, 413, 502, 503, 504)  # of operations that read from a registry
_SUBMIT_ERRORS = (*_REGISTRY_ERRORS, 401, 429, 501)


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
        """Whether the operator can limit who reads it: see `gateway.domain.record_access`."""
        is_record = self.tag in {"containers", "builds", "mirrors", "scans"} and not self.account
        return self.method == "get" and is_record and not self.path.endswith("/status")


def _get(path: str, summary: str, description: str, tag: str, answer: Any, **more: Any) -> Operation:
    return Operation(method="get", path=path, summary=summary, description=description, tag=tag, answer=answer, **more)


def _post(path: str, summary: str, description: str, tag: str, answer: Any, body: Any, **more: Any) -> Operation:
    return Operation(
        method="post",
        path=path,
        summary=summary,
        description=f"{description} The body has at most 10 MiB.",
        tag=tag,
        answer=answer,
        body=body,
        errors=(*more.pop("errors"), RequestSlow, MediaTypeUnsupported),
        **more,
    )


def _text(path: str, summary: str, description: str, tag: str, **more: Any) -> Operation:
    return _get(path, summary, description, tag, str, media_type="text/plain", **more)


def _cancel(kind: str, description: str) -> Operation:
    return _post(
        f"/v1alpha1/{kind}s/{{{kind}Id}}/cancel",
        f"Cancel a {kind}",
        description,
        f"{kind}s",
        Cancellation,
        CancelRequest,
        examples=examples.CANCEL,
        errors=(400, 401, NotYours, 404, BuildEnded, 413, 429, 503),
    )


def _metric(version: str, name: str) -> Operation:
    is_old = version == "v1alpha2"
    return _get(
        f"/{version}/metrics/{name}",
        f"Count {name.replace('/', ' ')}",
        "The count of one day, or of all time without `date`. Days are in UTC.",
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
        "Request a container",
        "The name of an image that can be pulled at once: an image as it is, an augmented one, or one that is built. "
        "A pull waits for the build, by default at most 14 minutes.",
        "containers",
        ContainerAnswer,
        ContainerRequest,
        examples=examples.CONTAINERS,
        errors=_SUBMIT_ERRORS,
    ),
    _get(
        "/v1alpha2/container/{requestId}",
        "Get a container request",
        "The request and its result. The record is stored for 90 days by default, longer than the token.",
        "containers",
        ContainerRecord,
        errors=(404, 503),
    ),
    _get(
        "/v1alpha2/container/{requestId}/status",
        "Get the status of a container request",
        "Whether the image can be pulled; 404 after the token has expired, by default after 36 hours. The first "
        "response after a request may take up to 5 s while its build runs; not for requests with a `fingerprint`.",
        "containers",
        ContainerStatus,
        errors=(404, 503),
    ),
    Operation(
        method="post",
        path="/v1alpha2/container/{requestId}/lease",
        summary="Hold or renew a lease of a token",
        description="Without `leaseId`, hold a new lease; with it, renew that one. The token does not expire while it "
        "has a lease. A lease lasts 20 minutes from its last renewal, and no token lives longer than two days with "
        "leases, by default. A token has at most 100 leases.",
        tag="containers",
        answer=LeaseAnswer,
        query=(LEASE_ID,),
        errors=(404, 429, 503),
    ),
    Operation(
        method="delete",
        path="/v1alpha2/container/{requestId}/lease",
        summary="Return a lease of a token",
        description="The token lives on until its own end, or that of its last other lease.",
        tag="containers",
        answer=ReturnedLease,
        query=(LEASE_ID,),
        required=(LEASE_ID,),
        errors=(400, 404, 503),
    ),
    _post(
        "/container-token",
        "Request a container, in the first version of the API",
        "The same as `POST /v1alpha2/container`, for older clients.",
        "containers",
        ContainerAnswer,
        ContainerRequest,
        examples=examples.FIRST_VERSION,
        errors=_SUBMIT_ERRORS,
        deprecated=True,
    ),
    _get(
        "/container-token/{token}",
        "Get a container request, in the first version of the API",
        "The same record as `GET /v1alpha2/container/{requestId}`, in another form.",
        "containers",
        TokenDescription,
        errors=(404, 503),
    ),
    Operation(
        method="delete",
        path="/container-token/{token}",
        summary="Revoke a token",
        description="All gateways refuse the token within a second. The response has no body.",
        tag="containers",
        answer=None,
        errors=(404, 429, 503),
        account=True,
    ),
)

BUILDS = (
    _get(
        "/v1alpha1/builds",
        "List the builds of an image",
        "Newest first, in pages of at most 100 builds.",
        "builds",
        BuildPage,
        query=(IMAGE, CURSOR, LIMIT),
        required=(IMAGE,),
        errors=(400, 503),
    ),
    _get(
        "/v1alpha1/builds/{buildId}",
        "Get a build",
        "The inputs and the result of a build. It does not name who requested it.",
        "builds",
        BuildRecord,
        errors=(404, 503),
    ),
    _get(
        "/v1alpha1/builds/{buildId}/status",
        "Get the status of a build",
        "Whether the build has ended, and how. Times are in seconds.",
        "builds",
        BuildStatus,
        errors=(404, 503),
    ),
    _text(
        "/v1alpha1/builds/{buildId}/logs",
        "Get the log of a build",
        "The whole log of an ended build, or the lines of a running build up to now; at most 64 MiB are stored. "
        "With `Accept: text/event-stream` each line is an event as it appears, so is each step of the build, as `step` "
        "when it starts and ends, and the last event is the result.",
        "builds",
        events={"step": BuildStep, "end": BuildEnd},
        errors=(400, 404, 503),
    ),
    _get(
        "/v1alpha1/builds/{buildId}/sif",
        "Download the SIF file of a build",
        "A redirect to the bytes of the file, where ranges are supported. "
        "The caller needs read access to the base images.",
        "builds",
        None,
        status=307,
        errors=(403, 404, 502, 503),
    ),
    _text(
        "/v1alpha1/builds/{buildId}/condalock",
        "Get the lock file of a build",
        "The exact packages that a build of packages installed.",
        "builds",
        errors=(404, 503),
    ),
    *(
        _get(
            f"/v1alpha1/builds/{{buildId}}/{name}",
            f"Get the {title} of a build",
            f"{description} It is also attached to the image in its registry. Missing until the image is signed.",
            "builds",
            dict[str, Any],
            errors=(404, 503),
        )
        for name, title, description in (
            ("signature", "signature", "A sigstore bundle, which `cosign verify` accepts with the operator's key."),
            ("provenance", "provenance", "A sigstore bundle with SLSA provenance v1; without a key, the stored facts."),
            ("sbom", "SBOM", "A sigstore bundle with the Conda packages as SPDX 2.3."),
        )
    ),
    _cancel(
        "build",
        "Give up the build; it is cancelled when no other request needs it. "
        "With the account of an operator it is cancelled for all requests.",
    ),
)

MIRRORS = (
    _post(
        "/v1alpha1/mirrors",
        "Copy a list of images",
        "Copies images with all platforms and referrers into another registry, in one job. A dry run returns the bytes "
        "that would be sent. One image is copied with `mirror` of `POST /v1alpha2/container`, too.",
        "mirrors",
        MirrorAnswer,
        MirrorRequest,
        examples=examples.MIRRORS,
        errors=_SUBMIT_ERRORS,
    ),
    _get(
        "/v1alpha1/mirrors/{mirrorId}",
        "Get a mirror",
        "The record of a mirror; it is stored for 90 days by default.",
        "mirrors",
        MirrorRecord,
        errors=(404, 429, 503),
    ),
    _text(
        "/v1alpha1/mirrors/{mirrorId}/logs",
        "Get the log of a mirror",
        "The lines up to now, or the whole log of an ended mirror. With `Accept: text/event-stream`, the lines as they "
        "appear, then the result.",
        "mirrors",
        events={"end": BuildEnd},
        errors=(404, 429, 503),
    ),
    _cancel("mirror", "The mirror stops when no request needs it any more. Images that are complete stay."),
)

SCANS = (
    _get(
        "/v1alpha1/scans/affected",
        "List images that became affected",
        "Images of all users for which a newer vulnerability database has findings that the former one did not have.",
        "scans",
        AffectedList,
        errors=(429, 503),
        account=True,
    ),
    _get("/v1alpha1/scans/{scanId}", "Get a scan", "The record of a scan.", "scans", ScanRecord, errors=(404, 503)),
    _text(
        "/v1alpha1/scans/{scanId}/logs",
        "Get the log of a scan",
        "The steps of a scan that has ended.",
        "scans",
        errors=(404, 503),
    ),
    _text(
        "/v1alpha1/scans/{scanId}/vex",
        "Get the findings of a scan as OpenVEX",
        "All findings: those that the policy waives are not affected. At most 16 MiB of findings.",
        "scans",
        errors=(404, 413, 503),
    ),
    *(
        _text(
            f"/v1alpha1/scans/{{scanId}}/{name}",
            f"Get the {title} of a scan",
            f"{description} Of the first platform, if `platform` names none.",
            "scans",
            query=(SCAN_PLATFORM,),
            errors=(404, 503),
        )
        for name, title, description in (
            ("spdx", "SBOM", "The packages of the image, as SPDX 2.3."),
            ("cyclonedx", "SBOM", "The packages of the image, as CycloneDX."),
            ("report", "report", "The complete output of the scanner's program, grype or trivy, as JSON."),
        )
    ),
)

REGISTRIES = (
    _post(
        "/v1alpha1/inspect",
        "Inspect an image",
        "The manifest, the config and the layers of an image, or its index, read within 30 seconds.",
        "registries",
        Inspection,
        InspectRequest,
        examples=examples.INSPECT,
        query=("platform",),
        errors=(*_REGISTRY_ERRORS, 401),
    ),
    _post(
        "/v1alpha2/validate-creds",
        "Check the credentials of a registry",
        "Whether the registry accepts the user name and the password; `false` also if it does not respond in 15 "
        "seconds.",
        "registries",
        bool,
        CredentialsRequest,
        examples=examples.CREDENTIALS,
        errors=(400, 413, 502, 503, 504),
    ),
    _post(
        "/validate-creds",
        "Check the credentials of a registry, in the first version of the API",
        "The same as `POST /v1alpha2/validate-creds`; the credentials may be in the member `request`.",
        "registries",
        bool,
        LegacyCredentialsRequest,
        examples={name: {"request": body} for name, body in examples.CREDENTIALS.items()},
        errors=(400, 413, 502, 503, 504),
        deprecated=True,
    ),
)

_KEY = "/v1alpha2/keys/{keyId}"
_ONE_KEY: dict[str, Any] = {"tag": "keys", "personal": True}

_CREDENTIAL = "/v1alpha2/credentials/{registry}"
_ONE_CREDENTIAL: dict[str, Any] = {"tag": "credentials", "personal": True, "query": (USER, ORGANISATION)}

VAULT = (
    Operation(
        method="put",
        path=_CREDENTIAL,
        summary="Store a credential for a registry",
        description="Stores the user name and password for a registry, or for the repositories below a path, if the "
        "registry accepts them. They are used for the requests of their user, or of all users of the organisation, and "
        "never shown again. Operators may name an owner.",
        answer=StoredCredential,
        body=StoreRequest,
        examples=examples.STORED_CREDENTIALS,
        errors=(400, 403, 413, 429, 501, 503, RequestSlow, MediaTypeUnsupported),
        **_ONE_CREDENTIAL,
    ),
    _get(
        "/v1alpha2/credentials",
        "List stored credentials",
        "The credentials of the user and of the user's organisation, without their passwords.",
        "credentials",
        StoredCredentials,
        query=(USER, ORGANISATION),
        errors=(400, 403, 429, 501, 503),
        personal=True,
    ),
    Operation(
        method="get",
        path=_CREDENTIAL,
        summary="Get a stored credential",
        description="What is stored, without the password.",
        answer=StoredCredential,
        errors=(400, 403, 404, 429, 501, 503),
        **_ONE_CREDENTIAL,
    ),
    Operation(
        method="delete",
        path=_CREDENTIAL,
        summary="Delete a stored credential",
        description="Within a second, the credential is not used any more, and images that were requested with it are "
        "not served.",
        answer=None,
        status=204,
        errors=(400, 403, 404, 429, 501, 503),
        **_ONE_CREDENTIAL,
    ),
)

KEYS = (
    _post(
        "/v1alpha2/keys",
        "Issue an API key",
        "A new key of the user who sends the request, or of any user if an operator sends it. The response is the only "
        "one that contains the key.",
        "keys",
        IssuedKeyAnswer,
        KeyRequest,
        status=201,
        examples=examples.KEYS,
        errors=(400, 403, 413, 429, 503),
        personal=True,
    ),
    _get(
        "/v1alpha2/keys",
        "List API keys",
        "The keys of the user, or of all users for an operator, newest first, in pages of at most 100.",
        "keys",
        KeyPage,
        query=(USER, CURSOR, LIMIT),
        errors=(400, 403, 429, 503),
        personal=True,
    ),
    _get(
        _KEY,
        "Get an API key",
        "What the key may do, without the key itself.",
        "keys",
        KeyRecord,
        errors=(403, 404, 429, 503),
        personal=True,
    ),
    Operation(
        method="patch",
        path=_KEY,
        summary="Limit an API key",
        description="Replaces the members that the body has. All gateways apply them within a second. The body has at "
        "most 10 MiB.",
        answer=KeyRecord,
        body=KeyChange,
        examples=examples.KEY_CHANGES,
        errors=(400, 403, 404, 413, 429, 503, RequestSlow, MediaTypeUnsupported),
        **_ONE_KEY,
    ),
    Operation(
        method="delete",
        path=_KEY,
        summary="Revoke an API key",
        description="All gateways refuse the key within a second. Tokens of images that it has requested stay valid.",
        answer=KeyRecord,
        errors=(403, 404, 429, 503),
        **_ONE_KEY,
    ),
)

METRICS = tuple(
    _metric(version, name)
    for version in ("v1alpha3", "v1alpha2")
    for name in ("builds", "pulls", "fusion/pulls", "mirrors", "scans")
)

SERVICE = (
    _get(
        "/service-info",
        "Get the version",
        "The version of Wave's API that this server implements, its own version, and its revision.",
        "service",
        dict[str, dict[str, str]],
    ),
    *(
        _get(
            path,
            "Check whether the server is ready",
            "`UP` while anything useful works: with `degraded`, only what `works` lists. Otherwise `DOWN`, 503 and the "
            "reason.",
            "service",
            HealthStatus,
            errors=(503,),
            error=HealthStatus,
        )
        for path in ("/health", "/health/readiness")
    ),
    _text("/robots.txt", "Get the rules for crawlers", "No page is for crawlers.", "service"),
    _get("/health/liveness", "Check whether the server runs", "Always `UP`.", "service", dict[str, str]),
)

OPERATIONS = (*CONTAINERS, *BUILDS, *MIRRORS, *SCANS, *REGISTRIES, *VAULT, *KEYS, *METRICS, *SERVICE)
