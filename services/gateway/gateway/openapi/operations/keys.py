"""Operations of API keys."""

from typing import Any

from gateway.openapi import examples
from gateway.openapi.operations.operation import CURSOR, LIMIT, USER, Operation, get, post
from swell.api.keys import IssuedKeyAnswer, KeyChange, KeyPage, KeyRecord, KeyRequest
from swell.errors import MediaTypeUnsupported, RequestSlow

_KEY = "/v1alpha2/keys/{keyId}"
_ONE_KEY: dict[str, Any] = {"tag": "keys", "personal": True}

KEYS = (
    post(
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
    get(
        "/v1alpha2/keys",
        "List API keys",
        "The keys of the user, or of all users for an operator, newest first, in pages of at most 100.",
        "keys",
        KeyPage,
        query=(USER, CURSOR, LIMIT),
        errors=(400, 403, 429, 503),
        personal=True,
    ),
    get(
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
        "most 24 MiB.",
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
