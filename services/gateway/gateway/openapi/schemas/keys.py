"""API keys."""

from gateway.openapi.schemas.common import INSTANT

_KEY_LIMITS = {
    "name": "What the key is for; at most 100 characters.",
    "scopes": "What the key may do.",
    "repositories": "Requests with the key may name only images below these, `registry` or `registry/path`; at most 8. "
    "Without an entry, every image.",
    "expires": f"When the key ends, {INSTANT}; without it, never.",
}

_KEY = {
    "id": "Public id of the key.",
    "user": "User of the key.",
    "email": "E-mail address of the user.",
    "organisation": "Organisation that usage is counted for.",
    "secrets": "Names of the operator's secrets that builds may use.",
    "created": f"When the key was issued, {INSTANT}.",
    "createdBy": "User or operator's account that issued it.",
    **_KEY_LIMITS,
}

SCHEMAS = {
    "KeyRequest": "The user and the limits of a new API key.",
    "KeyChange": "Limits of an API key to replace; missing members stay as they are.",
    "KeyRecord": "An API key, without the key itself.",
    "IssuedKeyAnswer": "A new API key.",
    "KeyPage": "API keys, newest first.",
}

PROPERTIES = {
    "KeyRequest": {
        **{name: _KEY[name] for name in ("email", "organisation")},
        **_KEY_LIMITS,
        "user": "User of the key; by default the user who sends the request. Only operators may name another one.",
        "secrets": "Names of the operator's secrets that builds may use; at most 100. Only for operators.",
        "scopes": "What the key may do; by default `build`, `pull`, `inspect`, `mirror` and `scan`.",
    },
    "KeyChange": _KEY_LIMITS,
    "KeyRecord": _KEY,
    "IssuedKeyAnswer": _KEY | {"key": "The key itself: it is not stored, and not shown again."},
    "KeyPage": {"keys": "The keys.", "next": "`cursor` of the next page; missing on the last one."},
}
