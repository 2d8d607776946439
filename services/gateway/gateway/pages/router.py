"""The routes of the pages, whose errors are pages, too."""

from litestar import Router

from gateway.handlers.metrics import challenge
from gateway.pages.assets import asset
from gateway.pages.errors import on_page_error
from gateway.pages.handlers.builds import build_page, cancel_page
from swell.errors import AccountRequired


def pages_router() -> Router:
    return Router(
        "/",
        route_handlers=[asset, build_page, cancel_page],
        exception_handlers={Exception: on_page_error, AccountRequired: challenge},
    )
