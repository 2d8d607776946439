"""Operations that read from registries."""

from gateway.openapi import examples
from gateway.openapi.operations.operation import REFERRERS, REGISTRY_ERRORS, post
from swell.api.inspect import CredentialsRequest, Inspection, InspectRequest, LegacyCredentialsRequest

REGISTRIES = (
    post(
        "/v1alpha1/inspect",
        "Inspect an image",
        "The manifest, the config and the layers of an image, or its index, read within 30 seconds.",
        "registries",
        Inspection,
        InspectRequest,
        examples=examples.INSPECT,
        query=("platform", REFERRERS),
        errors=(*REGISTRY_ERRORS, 401),
    ),
    post(
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
    post(
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
