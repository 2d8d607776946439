"""Accounts."""

from gateway.openapi.schemas.common import INSTANT

_MEMBERS = {
    "email": "E-mail address of the user, for notices; at most 254 characters.",
    "organisation": "Organisation of the user; at most 254 characters.",
    "scopes": "What the account may do; an operator's has `administer`.",
}
_PASSWORD = "At least 12 characters, and at most 72 bytes."  # noqa: S105  (a description)
_DISABLED = "Whether the account, its sessions and its API keys are refused."
_RECORD = {
    **_MEMBERS,
    "name": "Name of the user.",
    "created": f"When the account was made, {INSTANT}.",
    "createdBy": "Operator who has made it.",
    "disabled": _DISABLED,
}

SCHEMAS = {
    "AccountRequest": "A new account.",
    "AccountChange": "Members of an account to replace; missing members stay as they are.",
    "AccountRecord": "An account, without its password.",
    "NewAccount": "An account that was just made.",
    "AccountPage": "Accounts by name.",
}

PROPERTIES = {
    "AccountRequest": {
        **_MEMBERS,
        "name": "Name of the user: letters, digits and `. _ @ + -`; at most 64 characters.",
        "password": f"{_PASSWORD} Without one, the server chooses it.",
        "scopes": "What the account may do; by default `build`, `pull`, `inspect`, `mirror`, `scan` and `keys`. "
        "`administer` makes it an operator's.",
    },
    "AccountChange": {
        **_MEMBERS,
        "password": _PASSWORD,
        "currentPassword": "The present password, for users.",
        "disabled": _DISABLED,
    },
    "AccountRecord": _RECORD,
    "NewAccount": _RECORD | {"password": "The password, if the server has chosen it: it is not shown again."},
    "AccountPage": {"accounts": "The accounts.", "next": "`cursor` of the next page; missing on the last one."},
}
