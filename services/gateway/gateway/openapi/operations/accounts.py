"""Operations of accounts."""

from typing import Any

from gateway.openapi import examples
from gateway.openapi.operations.operation import CURSOR, LIMIT, Operation, get, post
from swell.api.accounts import AccountChange, AccountPage, AccountRecord, AccountRequest, NewAccount
from swell.errors import MediaTypeUnsupported, RequestSlow

_ACCOUNT = "/v1alpha2/accounts/{accountName}"
_ONE: dict[str, Any] = {"tag": "accounts", "personal": True, "answer": AccountRecord}

ACCOUNTS = (
    post(
        "/v1alpha2/accounts",
        "Create an account",
        "A name and a password, for an operator or a user. Without a password in the body, the server chooses one, and "
        "only this response contains it. For operators.",
        "accounts",
        NewAccount,
        AccountRequest,
        status=201,
        examples=examples.ACCOUNTS,
        errors=(400, 403, 413, 429, 503),
        personal=True,
    ),
    get(
        "/v1alpha2/accounts",
        "List accounts",
        "All accounts by name, in pages of at most 100, without the operators in the server's htpasswd file. For "
        "operators.",
        "accounts",
        AccountPage,
        query=(CURSOR, LIMIT),
        errors=(400, 403, 429, 503),
        personal=True,
    ),
    get(
        _ACCOUNT,
        "Get an account",
        "What the account may do; operators get every account, users their own.",
        "accounts",
        AccountRecord,
        errors=(404, 429, 503),
        personal=True,
    ),
    Operation(
        method="patch",
        path=_ACCOUNT,
        summary="Change an account",
        description="Replaces the members that the body has. Users may set a new `password`, with their "
        "`currentPassword`; operators everything. With another password, other rights or another organisation, the "
        "sessions of the account end. API keys that its user has made with more rights or for another organisation, or "
        "all of a disabled account, are revoked. The body has at most 24 MiB.",
        body=AccountChange,
        examples=examples.ACCOUNT_CHANGES,
        errors=(400, 403, 404, 413, 429, 503, RequestSlow, MediaTypeUnsupported),
        **_ONE,
    ),
    Operation(
        method="delete",
        path=_ACCOUNT,
        summary="Delete an account",
        description="All gateways refuse the account, its sessions and its API keys within a second. Tokens of images "
        "that it has requested stay valid. For operators.",
        errors=(403, 404, 429, 503),
        **_ONE,
    ),
)
