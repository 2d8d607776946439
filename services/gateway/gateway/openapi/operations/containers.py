"""Operations of container requests, their tokens and the leases of tokens."""

from gateway.openapi import examples
from gateway.openapi.operations.operation import LEASE_ID, SUBMIT_ERRORS, Operation, get, post
from swell.api.builds import ContainerStatus
from swell.api.containers import ContainerAnswer, ContainerRecord, ContainerRequest, TokenDescription
from swell.api.leases import LeaseAnswer, ReturnedLease

CONTAINERS = (
    post(
        "/v1alpha2/container",
        "Request a container",
        "The name of an image that can be pulled at once: an image as it is, an augmented one, or one that is built. "
        "A pull waits for the build, by default at most 14 minutes.",
        "containers",
        ContainerAnswer,
        ContainerRequest,
        examples=examples.CONTAINERS,
        errors=SUBMIT_ERRORS,
    ),
    get(
        "/v1alpha2/container/{requestId}",
        "Get a container request",
        "The request and its result. The record is stored for 90 days by default, longer than the token.",
        "containers",
        ContainerRecord,
        errors=(404, 503),
    ),
    get(
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
    post(
        "/container-token",
        "Request a container, in the first version of the API",
        "The same as `POST /v1alpha2/container`, for older clients.",
        "containers",
        ContainerAnswer,
        ContainerRequest,
        examples=examples.FIRST_VERSION,
        errors=SUBMIT_ERRORS,
        deprecated=True,
    ),
    get(
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
