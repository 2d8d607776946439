"""Operations of stored credentials."""

from typing import Any

from gateway.openapi import examples
from gateway.openapi.operations.operation import ORGANISATION, USER, Operation, get
from swell.api.credentials import StoredCredential, StoredCredentials, StoreRequest
from swell.errors import MediaTypeUnsupported, RequestSlow

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
    get(
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
