"""Webhooks."""

from gateway.openapi.schemas.common import INSTANT

_WEBHOOK = {
    "name": "Name, unique for its owner: 1 to 64 letters, digits, `-`, `_` or `.`.",
    "url": "Address that gets the notices.",
    "events": "What it gets notices of: `build`, `mirror` and `scan`.",
    "stored": f"When it was stored, {INSTANT}.",
    "storedBy": "User or operator who has stored it.",
    "user": "User whose requests cause notices; missing for a webhook of an organisation.",
    "organisation": "Organisation whose users' requests cause notices; missing for a webhook of a user.",
}

SCHEMAS = {
    "WebhookRequest": "An address that gets notices.",
    "WebhookRecord": "A webhook, without its secret.",
    "StoredWebhookAnswer": "A webhook that was stored now, with its secret.",
    "WebhookList": "The webhooks of a user or of an organisation.",
}

PROPERTIES = {
    "WebhookRequest": {
        "url": "An https URL on the internet, without a user name; at most 2,000 characters.",
        "events": "`build`, `mirror` and `scan`; all of them if it is empty.",
    },
    "WebhookRecord": _WEBHOOK,
    "StoredWebhookAnswer": {
        **_WEBHOOK,
        "secret": "Secret that signs the notices: `whsec_` and base64. Not shown again.",
    },
    "WebhookList": {"webhooks": "The webhooks, by name."},
}
