"""Operations of webhooks."""

from typing import Any

from gateway.openapi import examples
from gateway.openapi.operations.operation import ORGANISATION, USER, Operation, get
from swell.api.webhooks import StoredWebhookAnswer, WebhookList, WebhookRequest
from swell.errors import MediaTypeUnsupported, RequestSlow

_WEBHOOK = "/v1alpha2/webhooks/{name}"
_ONE: dict[str, Any] = {"tag": "webhooks", "personal": True, "query": (USER, ORGANISATION)}

WEBHOOKS = (
    Operation(
        method="put",
        path=_WEBHOOK,
        summary="Store a webhook",
        description="Sends notices to an https address on the internet when builds, mirrors and scans of the owner "
        "end. The answer has a new secret, with which they are signed. Operators may name an owner.",
        answer=StoredWebhookAnswer,
        body=WebhookRequest,
        examples=examples.WEBHOOKS,
        errors=(400, 403, 413, 429, 501, 503, RequestSlow, MediaTypeUnsupported),
        **_ONE,
    ),
    get(
        "/v1alpha2/webhooks",
        "List webhooks",
        "The webhooks of an owner, without their secrets.",
        "webhooks",
        WebhookList,
        query=(USER, ORGANISATION),
        errors=(400, 403, 429, 501, 503),
        personal=True,
    ),
    Operation(
        method="delete",
        path=_WEBHOOK,
        summary="Delete a webhook",
        description="Notices that wait for it are dropped.",
        answer=None,
        status=204,
        errors=(400, 403, 404, 429, 501, 503),
        **_ONE,
    ),
)
