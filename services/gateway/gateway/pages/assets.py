"""The style sheet, scripts and icon of the pages. Names contain a hash of the content, so browsers cache them forever.

`htmx` is version 2.0.11 (0BSD, https://htmx.org); its licence is beside it.
"""

import gzip
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from litestar import Request, Response, get
from litestar.params import FromPath
from msgspec import Struct

from swell.errors import NotFound

FOLDER = "/assets"
_MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = files("gateway.pages") / "static"
_NAMES = ("swell.css", "htmx.js", "log.js", "page.js", "picker.js", "icon.svg")
_SOURCES = {"htmx.js": "htmx-2.0.11.min.js"}


class Asset(Struct, frozen=True):
    """A file by its `name` with the hash; `packed` is its content in gzip."""

    name: str
    media_type: str
    content: bytes
    packed: bytes


@get(f"{FOLDER}/{{name:str}}")
async def asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    """A file of the pages; raises `NotFound` for a name of another version."""
    known = _by_name().get(name)
    if known is None:
        raise NotFound("the pages have no such file; load the page again")
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    content = known.content
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = known.packed, "gzip"
    return Response(content, media_type=known.media_type, headers=headers)


def address_of(name: str) -> str:
    """The path of the file *name*, such as `/assets/swell.1f2e3d4c.css`."""
    return f"{FOLDER}/{_assets()[name].name}"


@cache
def _assets() -> dict[str, Asset]:
    return {name: _read(name) for name in _NAMES}


@cache
def _by_name() -> dict[str, Asset]:
    return {known.name: known for known in _assets().values()}


def _read(name: str) -> Asset:
    content = (_FILES / _SOURCES.get(name, name)).read_bytes()
    stem, dot, suffix = name.rpartition(".")
    digest = hashlib.sha256(content).hexdigest()[:12]
    return Asset(
        f"{stem}.{digest}{dot}{suffix}", _MEDIA_TYPES[dot + suffix], content, gzip.compress(content, 9, mtime=0)
    )
