"""Misbehaviour of requests for configs and layers, and for parts of them."""

import gzip

from swell.testing.odd_registry.rows import (
    HTML,
    LAYER,
    OTHER,
    STATUSES,
    at,
    blob,
    by_range,
    config,
    row,
)
from swell.testing.odd_registry.server import (
    IMAGE,
    Then,
    chunked,
    cut,
    first,
    says,
    serves,
)

BLOBS = [
    *(
        row(f"layer-head-{line.split()[0]}", replies=at(says(line), "HEAD layer"))
        for line in [*STATUSES, "401 Unauthorized", "403 Forbidden", "404 Not Found"]
    ),
    row("layer-head-without-length", replies=at(serves(length=None), "HEAD layer")),
    row("layer-head-redirect", replies=at(says("307 Temporary Redirect", "Location: {stored}"), "HEAD layer")),
    blob("without-type", serves(media_type=None)),
    blob("type-html", serves(media_type="text/html")),
    blob("without-length", serves(length=None, then=Then.CLOSE)),
    blob("chunked", chunked()),
    blob("http-1.0", serves(version="1.0", length=None, then=Then.CLOSE)),
    blob("marked-gzip", serves("Content-Encoding: gzip")),
    blob("wrong-digest-header", serves(digest=OTHER)),
    blob("slow", serves(pieces=5, pause=0.02)),
    blob("503-once", first(says("503 Service Unavailable"), serves())),
    blob("other-bytes", serves(body=b"x" * len(LAYER)), "UpstreamFailed"),
    blob("longer", serves(body=LAYER + b"x"), "UpstreamFailed"),
    blob("shorter", serves(body=LAYER[:-1]), "UpstreamFailed"),
    blob("empty", serves(body=b""), "UpstreamFailed"),
    blob("html", serves(body=HTML, media_type="text/html"), "UpstreamFailed"),
    blob("cut", cut(), "UpstreamBroken"),
    blob("cut-chunks", chunked(cut=True), "UpstreamBroken"),
    blob("stalled", cut(then=Then.STALL), "UpstreamSlow", is_slow=True),
    blob("206", serves(status="206 Partial Content"), "UpstreamFailed"),
    blob("204", says("204 No Content"), "UpstreamFailed"),
    blob("401", says("401 Unauthorized"), "Denied"),
    blob("403", says("403 Forbidden"), "Denied"),
    blob("404", says("404 Not Found"), "BlobUnknown"),
    blob("500", says("500 Internal Server Error"), "UpstreamFailed"),
    config("without-type", serves(media_type=None)),
    config("chunked", chunked()),
    config("cut-once", first(cut(), serves())),
    config(
        "gzip", serves("Content-Encoding: gzip", body=gzip.compress(IMAGE.config.content), digest=IMAGE.config.digest)
    ),
    config("marked-gzip", serves("Content-Encoding: gzip")),
    config("other-bytes", serves(body=b"{}"), "UpstreamFailed"),
    config("html", serves(body=HTML, media_type="text/html"), "UpstreamFailed"),
    config("empty", serves(body=b""), "UpstreamFailed"),
    config("404", says("404 Not Found"), "BlobUnknown"),
    config("stalled", cut(then=Then.STALL), "UpstreamSlow", is_slow=True),
    config("redirect", says("307 Temporary Redirect", "Location: {elsewhere}{stored}")),
]

RANGES = [
    row(
        "range-right",
        replies=at(
            by_range("206 Partial Content", f"Content-Range: bytes 10-19/{len(LAYER)}", body=LAYER[10:20]), "GET layer"
        ),
    ),
    row("range-ignored", replies=at(serves(), "GET layer")),
    row(
        "range-other",
        "UpstreamFailed",
        replies=at(by_range("206 Partial Content", "Content-Range: bytes 0-9/99", body=LAYER[:10]), "GET layer"),
    ),
    row("range-untold", "UpstreamFailed", replies=at(by_range("206 Partial Content"), "GET layer")),
    row(
        "range-garbage",
        "UpstreamFailed",
        replies=at(by_range("206 Partial Content", "Content-Range: nonsense"), "GET layer"),
    ),
    row("range-refused", "UpstreamFailed", replies=at(says("416 Range Not Satisfiable"), "GET layer")),
]
