"""Render templates. Jinja escapes every value, and the content policy allows no scripts or styles but our files."""

from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from litestar import Response

from gateway.http.sessions import current_csrf_token
from gateway.pages import formats
from gateway.pages.assets import address_of
from swell.store.scans import SeverityLevel

if TYPE_CHECKING:
    from jinja2 import Environment

HTML = "text/html"
NAVIGATION = (
    ("Packages", "/"),
    ("Container file", "/build"),
    ("Add to an image", "/augment"),
    ("Inspect", "/view/inspect"),
    ("Scan", "/view/scans"),
    ("API", "/openapi/"),
)
ACCOUNT = (
    ("My builds", "/view/builds"),
    ("Keys", "/view/keys"),
    ("Credentials", "/view/credentials"),
    ("Account", "/view/account"),
    ("Operator", "/view/operator"),
)
"""Names and paths of the pages in the head of each page; those of `ACCOUNT` are for users and operators."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",  # pages show what the holder of an id may see
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


RANKS = {level.value: rank for rank, level in enumerate(SeverityLevel)}
"""How severe a finding is: 0 is the most severe."""
MOST_TEXT = 12 << 10
"""Characters of a recipe in a page."""


def page(template: str, *, status: int = 200, **values: Any) -> Response[str]:
    """The page *template* with *values*."""
    return Response(render(template, status=status, **values), status_code=status, media_type=HTML, headers=HEADERS)


def render(template: str, **values: Any) -> str:
    return _environment().get_template(template).render(**values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  (4 MB that an API server needs not)

    environment = Environment(
        loader=PackageLoader("gateway.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= formats.FILTERS
    environment.tests["link"] = lambda text: str(text).startswith(("https://", "http://"))
    environment.globals |= {
        "asset": address_of,
        "csrf_token": current_csrf_token,
        "version": version("gateway"),
        "navigation": NAVIGATION,
        "account": ACCOUNT,
        "ranks": RANKS,
    }
    environment.globals["parts"] = environment.get_template("parts.html").module
    return environment
