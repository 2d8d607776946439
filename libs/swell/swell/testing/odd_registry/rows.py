"""Rows of the table of misbehaviours, by their kind."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST
from swell.testing.odd_registry.server import (
    BASIC,
    IMAGE,
    Answer,
    Reply,
    Request,
    Row,
    says,
    serves,
)

MANIFEST, LAYER = IMAGE.manifest, IMAGE.layers[0].gzipped
FIELDS = MANIFEST.fields
OTHER = digest_of(b"other")
HTML = b"<html><title>Sign in</title></html>"
BEARER = 'Bearer realm="{here}/token/%s",service="odd",scope="repository:odd/%s:pull"'


def at(reply: Reply, *where: str) -> dict[str, Reply]:
    return dict.fromkeys(where or ("GET manifest",), reply)


def row(name: str, right: str = "", **more: object) -> Row:
    return Row(name=name, right=right, **more)  # type: ignore[arg-type]


def head(name: str, reply: Reply, right: str = "", **more: object) -> Row:
    """A misbehaviour of HEAD alone: Docker, go-containerregistry and newer containerd go on with GET."""
    return row(f"head-{name}", right, replies=at(reply, "HEAD manifest"), **more)


def get(name: str, reply: Reply, right: str = "", **more: object) -> Row:
    """A misbehaviour of both HEAD and GET of the manifest."""
    return row(f"manifest-{name}", right, replies=at(reply, "HEAD manifest", "GET manifest"), **more)


def only_get(name: str, reply: Reply, right: str = "", **more: object) -> Row:
    return row(f"manifest-{name}", right, replies=at(reply), **more)


def blob(name: str, reply: Reply, right: str = "", **more: object) -> Row:
    return row(f"layer-{name}", right, replies=at(reply, "GET layer"), **more)


def config(name: str, reply: Reply, right: str = "", **more: object) -> Row:
    return row(f"config-{name}", right, replies=at(reply, "GET config"), **more)


def document(name: str, manifest: Document, right: str = "", **more: object) -> Row:
    """An odd manifest, served as it should be."""
    return row(f"kind-{name}", right, manifest=manifest, **more)


def auth(name: str, *challenge: str, right: str = "", token: Reply | None = None, **more: object) -> Row:
    """A repository that needs a token, with an odd challenge or token service; `%s` is the row's name."""
    named = f"auth-{name}"
    lines = tuple(line.replace("%s", named) for line in challenge or (BEARER,))
    replies = {**more.pop("replies", {}), **(at(token, "GET token") if token else {})}  # type: ignore[dict-item]
    return row(named, right, challenge=lines, replies=replies, **more)


def redirects(name: str, status: str, location: str | None, right: str = "", *, what: str = "manifest") -> Row:
    lines = () if location is None else (f"Location: {location}",)
    replies: dict[str, Reply] = at(
        says(status, *lines), f"GET {what}", *(("HEAD manifest",) if what == "manifest" else ())
    )
    return row(
        f"{what}-redirect-{name}",
        right,
        replies=replies,
        private=what == "layer",
        challenge=(('Basic realm="odd"',) if what == "layer" else ()),
        accepted=BASIC,
    )


def hops(limit: int) -> Reply:
    """A chain of *limit* redirects, then the manifest."""

    def reply(request: Request) -> Answer:
        done = request.path.count("/hop")
        if done >= limit:
            return serves()(request)
        return says("302 Found", f"Location: /stored/{request.row.name}/manifest{'/hop' * (done + 1)}")(request)

    return reply


def limited(name: str, retry_after: str | None, seconds: int, where: str = "GET manifest") -> Row:
    lines = () if retry_after is None else (f"Retry-After: {retry_after}",)
    return row(
        f"limit-{name}",
        "TooManyRequests",
        replies=at(says("429 Too Many Requests", *lines), where),
        retry_after=seconds,
    )


def by_range(status: str, *lines: str, body: bytes | None = None) -> Reply:
    return serves(*lines, status=status, body=body)


def soon(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def with_padding(size: int) -> Document:
    """The manifest with annotations of *size* bytes."""
    return MANIFEST.changed(annotations={"org.example.padding": "x" * size})


def encoded(content: bytes, media_type: str = OCI_MANIFEST) -> Document:
    return Document(media_type, content)


STATUSES = ["400 Bad Request", "402 Payment Required", "405 Method Not Allowed", "406 Not Acceptable", "410 Gone"]
STATUSES += ["415 Unsupported Media Type", "418 I'm a teapot", "421 Misdirected Request", "451 Unavailable"]
STATUSES += ["500 Internal Server Error", "501 Not Implemented", "502 Bad Gateway", "503 Service Unavailable"]
STATUSES += ["504 Gateway Timeout", "507 Insufficient Storage", "520 Unknown", "599 Odd"]
