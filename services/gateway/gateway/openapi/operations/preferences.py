"""Operations of preferences."""

from gateway.openapi import examples
from gateway.openapi.operations.operation import USER, Operation, get
from swell.api.preferences import Preferences
from swell.errors import MediaTypeUnsupported, RequestSlow

PREFERENCES = (
    get(
        "/v1alpha2/preferences",
        "Get preferences",
        "When a user gets e-mail; the own user, or for operators any user.",
        "preferences",
        Preferences,
        query=(USER,),
        errors=(400, 403, 429, 503),
        personal=True,
    ),
    Operation(
        method="put",
        path="/v1alpha2/preferences",
        summary="Set preferences",
        description="Replaces all of them; it counts for what ends from now on. The preference of a user at a Seqera "
        "Platform counts before it. Operators may name a user.",
        tag="preferences",
        answer=Preferences,
        body=Preferences,
        query=(USER,),
        examples=examples.PREFERENCES,
        errors=(400, 403, 413, 429, 503, RequestSlow, MediaTypeUnsupported),
        personal=True,
    ),
)
