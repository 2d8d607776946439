"""The routes of the pages, whose errors are pages, too."""

from litestar import Router

from gateway.access.accounts.accounts import Accounts
from gateway.handlers.metrics import challenge
from gateway.http.caller import Callers
from gateway.pages.assets import asset
from gateway.pages.errors import on_page_error
from gateway.pages.handlers.accounts import (
    accounts_page,
    change_account,
    change_own_password,
    create_account,
    own_account_page,
)
from gateway.pages.handlers.builds import build_page, cancel_page
from gateway.pages.handlers.containers import container_page, revoke_page
from gateway.pages.handlers.credentials import credentials_page, delete_credential, store_credential
from gateway.pages.handlers.images import inspect_page
from gateway.pages.handlers.keys import issue_key, keys_page, revoke_key
from gateway.pages.handlers.mirrors import mirror_page
from gateway.pages.handlers.operator import operator_pages
from gateway.pages.handlers.own_builds import own_builds_page
from gateway.pages.handlers.passwords import password_form, sign_in_with_password
from gateway.pages.handlers.picker import picker, submit_packages
from gateway.pages.handlers.recipes import (
    augment_form,
    build_again,
    recipe_form,
    submit_augment,
    submit_recipe,
)
from gateway.pages.handlers.scans import scan_form, scan_page, start_scan
from gateway.pages.handlers.sign_in import callback, login, logout
from gateway.pages.handlers.usage import usage_page
from swell.errors import AccountRequired


def pages_router(callers: Callers, accounts: Accounts) -> Router:
    return Router(
        "/",
        route_handlers=[
            asset,
            login,
            password_form,
            sign_in_with_password,
            callback,
            logout,
            build_page,
            cancel_page,
            container_page,
            revoke_page,
            mirror_page,
            scan_form,
            start_scan,
            scan_page,
            inspect_page,
            usage_page,
            operator_pages(callers, accounts, (accounts_page, create_account, change_account)),
            own_account_page,
            change_own_password,
            own_builds_page,
            credentials_page,
            store_credential,
            delete_credential,
            keys_page,
            issue_key,
            revoke_key,
            picker,
            submit_packages,
            recipe_form,
            build_again,
            submit_recipe,
            augment_form,
            submit_augment,
        ],
        exception_handlers={Exception: on_page_error, AccountRequired: challenge},
    )
