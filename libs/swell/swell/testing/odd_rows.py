"""The table of the odd registry: one row for each misbehaviour, with its right answer."""

import gzip
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from swell.oci.digest import digest_of
from swell.oci.document import Document
from swell.oci.media_types import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from swell.testing.images import make_image, make_index
from swell.testing.odd_registry import (
    BASIC,
    IMAGE,
    TOKEN,
    Answer,
    Reply,
    Request,
    Row,
    Then,
    chunked,
    cut,
    digest_with,
    first,
    gives,
    raw,
    says,
    serves,
    wire,
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


_DOCKER = make_image("odd", docker=True)
_LIST = make_index((MANIFEST, IMAGE.platform))
_SIGNED = (
    b'{"schemaVersion":1,"name":"odd","tag":"1","architecture":"amd64","fsLayers":[],"history":[],"signatures":[]}'
)
_ARTIFACT = MANIFEST.changed(
    artifactType="application/vnd.example.thing",
    config={"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2},
)
_CHART = MANIFEST.changed(config=FIELDS["config"] | {"mediaType": "application/vnd.cncf.helm.config.v1+json"})
_WITHOUT_TYPE = encoded(MANIFEST.content.replace(b'"mediaType": "%s",' % OCI_MANIFEST.encode(), b"", 1))
_GZIP = gzip.compress(MANIFEST.content, mtime=0)
_CHUNKED_TOKEN = wire("200 OK", "Transfer-Encoding: chunked") + (
    b"%x\r\n%s\r\n0\r\n\r\n" % (len(TOKEN) + 12, b'{"token":"%s"}' % TOKEN.encode())
)
_STATUSES = ["400 Bad Request", "402 Payment Required", "405 Method Not Allowed", "406 Not Acceptable", "410 Gone"]
_STATUSES += ["415 Unsupported Media Type", "418 I'm a teapot", "421 Misdirected Request", "451 Unavailable"]
_STATUSES += ["500 Internal Server Error", "501 Not Implemented", "502 Bad Gateway", "503 Service Unavailable"]
_STATUSES += ["504 Gateway Timeout", "507 Insufficient Storage", "520 Unknown", "599 Odd"]

HEADS = [
    *(head(f"{line.split()[0]}", says(line)) for line in [*_STATUSES, "401 Unauthorized", "403 Forbidden", "404 No"]),
    head("204", says("204 No Content")),
    head("closed", raw(b"")),
    head("without-length", serves(length=None)),
    head("length-zero", serves(length="0")),
    head("other-length", serves(length="1234567")),
    head("other-type", serves(media_type="text/html")),
    head("without-type", serves(media_type=None)),
    head("without-digest", serves(digest=None)),
    head("garbage-digest", serves(digest="nonsense")),
    head("empty-digest", says("200 OK", "Docker-Content-Digest: ")),
    head("upper-case-digest", serves(digest=MANIFEST.digest.upper())),
    head("sha512-digest", serves(digest=digest_with("sha512", MANIFEST.content))),
    head("chunked", raw(wire("200 OK", "Transfer-Encoding: chunked", f"Docker-Content-Digest: {MANIFEST.digest}"))),
    head("gzip", serves("Content-Encoding: gzip")),
    head("with-body", raw(wire("200 OK", "Content-Length: 5", body=b"hello"), Then.KEEP)),
    head("http-1.0", serves(version="1.0", then=Then.CLOSE)),
    head("redirect-here", says("307 Temporary Redirect", "Location: {stored}")),
    head("redirect-elsewhere", says("307 Temporary Redirect", "Location: {elsewhere}{stored}")),
    head("redirect-refused", says("307 Temporary Redirect", "Location: {elsewhere}/stored/nobody/x")),
    head("redirect-loop", says("302 Found", "Location: ?")),
    head("redirect-nowhere", says("302 Found")),
    head("429", says("429 Too Many Requests", "Retry-After: 7"), "TooManyRequests", retry_after=7),
    head("silent", raw(b"", Then.STALL), "UpstreamSlow", is_slow=True),
]

MANIFESTS = [
    get("without-type", serves(media_type=None)),
    get("empty-type", serves(media_type=" ")),
    get("type-json", serves(media_type="application/json")),
    get("type-text", serves(media_type="text/plain")),
    get("type-octets", serves(media_type="application/octet-stream")),
    get("type-html", serves(media_type="text/html; charset=utf-8")),
    get("type-garbage", serves(media_type="////;;")),
    get("type-upper-case", serves(media_type=OCI_MANIFEST.upper())),
    get("type-with-charset", serves(media_type=f"{OCI_MANIFEST}; charset=utf-8")),
    get("type-twice", serves(f"Content-Type: {OCI_MANIFEST}")),
    get("type-of-docker", serves(media_type=DOCKER_MANIFEST)),
    get("type-of-index", serves(media_type=OCI_INDEX), "ManifestInvalid"),
    get("without-digest", serves(digest=None)),
    get("garbage-digest", serves(digest="sha256:abc")),
    get("upper-case-digest", serves(digest=MANIFEST.digest.upper())),
    get("sha512-digest", serves(digest=digest_with("sha512", MANIFEST.content))),
    get("unknown-algorithm", serves(digest="blake3:" + "0" * 64)),
    get("digest-twice", serves(f"Docker-Content-Digest: {MANIFEST.digest}")),
    get("wrong-digest", serves(digest=OTHER), "UpstreamFailed"),
    only_get("without-length", serves(length=None, then=Then.CLOSE)),
    only_get("chunked", chunked()),
    only_get("chunk-extensions", chunked(extension=";a=b")),
    only_get("trailers", chunked(trailer="X-Checksum: 1\r\n")),
    only_get("cut-chunks", chunked(cut=True), "UpstreamBroken"),
    only_get("cut", cut(), "UpstreamBroken"),
    only_get("cut-before-body", cut(0), "UpstreamBroken"),
    only_get("cut-once", first(cut(), serves())),
    only_get("closed-once", first(raw(b""), serves())),
    only_get("closed", raw(b""), "UpstreamBroken"),
    only_get("longer-than-length", serves(length="20"), "UpstreamFailed"),
    only_get("stalled", cut(then=Then.STALL), "UpstreamSlow", is_slow=True),
    only_get("silent", raw(b"", Then.STALL), "UpstreamSlow", is_slow=True),
    only_get("slow", serves(pieces=5, pause=0.02)),
    only_get("http-1.0", serves(version="1.0", then=Then.CLOSE)),
    only_get("http-1.0-without-length", serves(version="1.0", length=None, then=Then.CLOSE)),
    only_get("connection-close", serves("Connection: close", then=Then.CLOSE)),
    only_get("early-hints", lambda r: Answer(wire("103 Early Hints", "Link: </x>") + serves()(r).content)),
    only_get("hop-headers", serves("Keep-Alive: timeout=5", "Proxy-Connection: keep-alive", "Via: 1.0 x, 1.1 y")),
    only_get("cookies", serves("Set-Cookie: a=b", "Set-Cookie: c=d; HttpOnly")),
    only_get("long-header", serves(f"X-Long: {'x' * 7000}")),
    only_get("gzip", serves("Content-Encoding: gzip", body=_GZIP, digest=MANIFEST.digest)),
    only_get("x-gzip", serves("Content-Encoding: x-gzip", body=_GZIP, digest=MANIFEST.digest)),
    only_get("gzip-that-is-none", serves("Content-Encoding: gzip")),
    only_get("gzip-cut", serves("Content-Encoding: gzip", body=_GZIP[:50], digest=None), "UpstreamFailed"),
    only_get(
        "gzip-bomb",
        serves("Content-Encoding: gzip", body=gzip.compress(bytes(64 << 20)), digest=None),
        "UpstreamFailed",
    ),
    only_get("brotli", serves("Content-Encoding: br", body=b"\x0b\x02\x80", digest=None), "UpstreamFailed"),
    get("html", serves(body=HTML, media_type="text/html", digest=None), "ManifestInvalid"),
    get("html-as-manifest", serves(body=HTML, digest=None), "ManifestInvalid"),
    get("empty", serves(body=b"", digest=None), "ManifestInvalid"),
    get(
        "error-with-200",
        serves(body=b'{"errors":[{"code":"DENIED"}]}', media_type="application/json", digest=None),
        "ManifestInvalid",
    ),
    get("204", says("204 No Content"), "UpstreamFailed"),
    get("206", serves(status="206 Partial Content"), "UpstreamFailed"),
    get("300", says("300 Multiple Choices"), "UpstreamFailed"),
    get("304", says("304 Not Modified"), "UpstreamFailed"),
    get("401", says("401 Unauthorized"), "Denied"),
    get("403", says("403 Forbidden", body=b'{"errors":[{"code":"DENIED"}]}'), "Denied"),
    get("404", says("404 Not Found", body=b"no such thing"), "ManifestUnknown"),
    only_get("404-with-200-head", says("404 Not Found"), "ManifestUnknown"),
    *(get(line.split()[0], says(line, body=HTML), "UpstreamFailed") for line in _STATUSES),
    only_get("503-once", first(says("503 Service Unavailable"), serves())),
    only_get("502-twice", first(says("502 Bad Gateway"), says("502 Bad Gateway"), serves())),
    get("503-for-long", says("503 Service Unavailable", "Retry-After: 120"), "UpstreamFailed", retry_after=120),
    document("byte-order-mark", encoded(b"\xef\xbb\xbf" + MANIFEST.content), "ManifestInvalid"),
    document("utf-16", encoded(MANIFEST.content.decode().encode("utf-16")), "ManifestInvalid"),
    document("garbage-behind", encoded(MANIFEST.content + b"xyz"), "ManifestInvalid"),
    document("two-documents", encoded(MANIFEST.content + MANIFEST.content), "ManifestInvalid"),
    document("nul-behind", encoded(MANIFEST.content + b"\0"), "ManifestInvalid"),
    document("newline-behind", encoded(MANIFEST.content + b"\r\n\n")),
    document("space-before", encoded(b"\n\t " + MANIFEST.content)),
    document("list", encoded(b"[]"), "ManifestInvalid"),
    document("null", encoded(b"null"), "ManifestInvalid"),
    document("empty-object", encoded(b"{}"), "ManifestInvalid"),
    document("duplicate-keys", encoded(b'{"schemaVersion": 1,' + MANIFEST.content.lstrip()[1:])),
    document("without-media-type", _WITHOUT_TYPE),
    document("without-any-type", Document("application/json", _WITHOUT_TYPE.content)),
    document("unknown-fields", MANIFEST.changed(x={"y": [1, None]}, subject=None)),
    document("large", with_padding(3 << 20)),
    document("too-large", with_padding(5 << 20), "UpstreamFailed"),
    document("docker", _DOCKER.manifest),
    document("docker-as-oci", Document(OCI_MANIFEST, _DOCKER.manifest.content)),
    document("layers-and-manifests", MANIFEST.changed(manifests=[]), "ManifestInvalid"),
    document("index-with-layers", _LIST.changed(layers=[]), "ManifestInvalid"),
    document("index-with-config", _LIST.changed(config=FIELDS["config"]), "ManifestInvalid"),
    document("index", _LIST),
    document("docker-list", make_index((_DOCKER.manifest, IMAGE.platform), docker=True)),
    document("index-as-docker-list", Document(DOCKER_LIST, _LIST.content)),
    document("index-as-manifest", Document(OCI_MANIFEST, _LIST.content), "ManifestInvalid"),
    document("empty-index", make_index()),
    document("null-index", make_index().changed(manifests=None)),
    document("nested-index", make_index((_LIST, None))),
    document("schema-1", Document("application/vnd.docker.distribution.manifest.v1+prettyjws", _SIGNED)),
    document("schema-1-as-json", Document("application/json", _SIGNED)),
    document("artifact", _ARTIFACT),
    document("chart", _CHART),
    document("negative-size", MANIFEST.changed(config=FIELDS["config"] | {"size": -1}), "ManifestInvalid"),
    document("fractional-size", MANIFEST.changed(config=FIELDS["config"] | {"size": 1.5}), "ManifestInvalid"),
    document("wrong-size", MANIFEST.changed(config=FIELDS["config"] | {"size": 1}), "UpstreamFailed"),
    document("bad-digest", MANIFEST.changed(config=FIELDS["config"] | {"digest": "sha256:abc"}), "SwellError"),
    document(
        "upper-case-digest",
        MANIFEST.changed(config=FIELDS["config"] | {"digest": IMAGE.config.digest.upper()}),
        "SwellError",
    ),
    document("config-of-8-gib", MANIFEST.changed(config=FIELDS["config"] | {"size": 8 << 30}), "ManifestInvalid"),
    row("reference-digest", reference=MANIFEST.digest),
    row("reference-sha512", reference=digest_with("sha512", MANIFEST.content)),
    row("reference-wrong-bytes", "UpstreamFailed", reference=OTHER),
    row("reference-of-128", reference="a" * 128),
    row("reference-odd", reference="V1.0_rc-2..x"),
    row("reference-underscore", reference="_1"),
]

REDIRECTS = [
    *(
        redirects(f"{line.split()[0]}", line, "{stored}")
        for line in ("301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect")
    ),
    redirects("absolute", "302 Found", "{here}{stored}"),
    redirects("elsewhere", "302 Found", "{elsewhere}{stored}"),
    redirects("same-scheme", "302 Found", "//{authority}{stored}"),
    redirects("up", "302 Found", "../../../..{stored}"),
    redirects("encoded", "302 Found", "{stored}/a%2Fb%2B?sig=%2F%3D+x"),
    redirects("user-info", "302 Found", "http://user:pw@{authority}{stored}"),
    redirects("fragment", "302 Found", "{stored}#part"),
    redirects("loop", "302 Found", "?", "UpstreamFailed"),
    redirects("nowhere", "302 Found", None, "UpstreamFailed"),
    redirects("empty", "302 Found", "", "UpstreamFailed"),
    redirects("to-a-file", "302 Found", "file:///etc/passwd", "UpstreamFailed"),
    redirects("to-ftp", "302 Found", "ftp://{authority}/x", "UpstreamFailed"),
    redirects("to-metadata", "302 Found", "http://169.254.169.254/latest", "AddressForbidden"),
    redirects("to-nonsense", "302 Found", "http://[::1", "UpstreamFailed"),
    redirects("305", "305 Use Proxy", "{stored}", "UpstreamFailed"),
    redirects("to-absence", "302 Found", "/stored/nobody/x", "ManifestUnknown"),
    row(
        "manifest-redirect-9-times",
        replies=at(hops(9), "GET manifest", "HEAD manifest", "GET stored manifest", "HEAD stored manifest"),
    ),
    row(
        "manifest-redirect-12-times",
        "UpstreamFailed",
        replies=at(hops(12), "GET manifest", "HEAD manifest", "GET stored manifest", "HEAD stored manifest"),
    ),
    *(
        redirects(f"{line.split()[0]}", line, "{elsewhere}{stored}", what="layer")
        for line in ("301 Moved", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect")
    ),
    redirects("relative", "307 Temporary Redirect", "{stored}", what="layer"),
    redirects("refused", "307 Temporary Redirect", "{elsewhere}/stored/layer-refused/layer", "Denied", what="layer"),
    redirects("absent", "307 Temporary Redirect", "{elsewhere}/stored/nobody/layer", "BlobUnknown", what="layer"),
    redirects("loop", "307 Temporary Redirect", "?", "UpstreamFailed", what="layer"),
    redirects(
        "to-metadata", "307 Temporary Redirect", "http://169.254.169.254/latest", "AddressForbidden", what="layer"
    ),
    row("layer-refused", replies=at(says("403 Forbidden", body=b"<Error>expired</Error>"), "GET stored layer")),
]

BLOBS = [
    *(
        row(f"layer-head-{line.split()[0]}", replies=at(says(line), "HEAD layer"))
        for line in [*_STATUSES, "401 Unauthorized", "403 Forbidden", "404 Not Found"]
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

LIMITS = [
    limited("without-word", None, 60),
    limited("seconds", "7", 7),
    limited("zero", "0", 1),
    limited("negative", "-5", 60),
    limited("fraction", "1.5", 60),
    limited("garbage", "soon", 60),
    limited("huge", "99999999999999999999", 3600),
    limited("past-date", "Wed, 21 Oct 2015 07:28:00 GMT", 1),
    limited("far-date", "Wed, 21 Oct 2099 07:28:00 GMT", 3600),
    limited("of-config", "7", 7, "GET config"),
    limited("of-layer", "7", 7, "GET layer"),
]

AUTHENTICATION = [
    auth("usual"),
    auth("lower-case", BEARER.replace("Bearer", "bearer")),
    auth("upper-case", BEARER.replace("Bearer", "BEARER").replace("realm", "REALM")),
    auth("two-schemes", 'Basic realm="odd", ' + BEARER),
    auth("two-schemes-turned", BEARER + ', Basic realm="odd"'),
    auth("two-headers", 'Basic realm="odd"', BEARER),
    auth("unknown-scheme-too", "Negotiate", "NTLM", BEARER),
    auth("quoted-commas", BEARER.replace(":pull", ":pull,push")),
    auth("escaped-quotes", BEARER + r',error_description="say \"please\", first"'),
    auth("spaces", BEARER.replace("=", " = ").replace(",", " , ")),
    auth("trailing-comma", BEARER + ","),
    auth("no-spaces-missing", BEARER.replace(",", ", ")),
    auth("unquoted", BEARER.replace('"', "")),
    auth("without-scope", BEARER.partition(",scope")[0]),
    auth("other-scope", BEARER.replace("odd/%s", "somebody/else")),
    auth("without-service", BEARER.partition(",service")[0]),
    auth("empty-service", BEARER.replace('"odd"', '""')),
    auth("realm-with-query", BEARER.replace("token/%s", "token/%s?client=x&y=%20z")),
    auth("realm-with-slash", BEARER.replace("token/%s", "token/%s/")),
    auth("rotating-realms", BEARER.replace("token/%s", "token/%s/{number}")),
    auth("realm-elsewhere", BEARER.replace("{here}", "{elsewhere}")),
    auth("without-realm", 'Bearer service="odd"', right="Denied"),
    auth("empty-realm", 'Bearer realm="",service="odd"', right="Denied"),
    auth("relative-realm", BEARER.replace("{here}", ""), right="UpstreamFailed"),
    auth("odd-realm-scheme", BEARER.replace("{here}", "gopher://x"), right="UpstreamFailed"),
    auth(
        "realm-with-password",
        BEARER.replace("http://", "http://a:b@").replace("{here}", "http://a:b@{authority}"),
        right="UpstreamFailed",
    ),
    auth("metadata-realm", BEARER.replace("{here}", "http://169.254.169.254"), right="AddressForbidden"),
    auth("nonsense", ',="",,', right="Denied"),
    auth("empty", "", right="Denied"),
    auth("digest-scheme", 'Digest realm="odd", nonce="x"', right="Denied"),
    auth("basic-for-anybody", 'Basic realm="odd"', right="Denied"),
    auth("basic", 'Basic realm="odd"', private=True, accepted=BASIC),
    auth("basic-with-charset", 'Basic realm="odd, \\"very\\"", charset="UTF-8"', private=True, accepted=BASIC),
    auth("basic-without-realm", "Basic", private=True, accepted=BASIC),
    auth("basic-refused", 'Basic realm="odd"', private=True, accepted="Basic nothing", right="Denied"),
    auth("private", BEARER.replace("odd/", "private/"), private=True),
    auth("access-token", token=gives(f'{{"access_token": "{TOKEN}"}}')),
    auth("both-tokens", token=gives(f'{{"access_token": "{TOKEN}", "token": "{TOKEN}"}}')),
    auth("empty-token-too", token=gives(f'{{"access_token": "{TOKEN}", "token": ""}}')),
    auth("null-token-too", token=gives(f'{{"access_token": "{TOKEN}", "token": null}}')),
    auth("expires-as-text", token=gives(f'{{"token": "{TOKEN}", "expires_in": "300"}}')),
    auth("expires-at-once", token=gives(f'{{"token": "{TOKEN}", "expires_in": 0}}')),
    auth("expires-before", token=gives(f'{{"token": "{TOKEN}", "expires_in": -1}}')),
    auth("expires-never", token=gives(f'{{"token": "{TOKEN}", "expires_in": 99999999999999}}')),
    auth("issued-oddly", token=gives(f'{{"token": "{TOKEN}", "issued_at": 5, "refresh_token": null, "scope": ["x"]}}')),
    auth("token-as-text", token=serves(body=f'{{"token": "{TOKEN}"}}'.encode(), media_type="text/html")),
    auth("token-chunked", token=raw(_CHUNKED_TOKEN, Then.KEEP)),
    auth(
        "token-redirected",
        token=says("307 Temporary Redirect", "Location: /token/auth-usual?scope=repository:odd/auth-usual:pull"),
    ),
    auth("token-503-once", token=first(says("503 Service Unavailable"), gives(f'{{"token": "{TOKEN}"}}'))),
    auth("token-401", token=says("401 Unauthorized"), right="Denied"),
    auth("token-403", token=says("403 Forbidden"), right="Denied"),
    auth("token-404", token=says("404 Not Found"), right="UpstreamFailed"),
    auth("token-500", token=says("500 Internal Server Error"), right="UpstreamFailed"),
    auth("token-429", token=says("429 Too Many Requests", "Retry-After: 9"), right="TooManyRequests", retry_after=9),
    auth("token-html", token=serves(body=HTML), right="UpstreamFailed"),
    auth("token-missing", token=gives("{}"), right="UpstreamFailed"),
    auth("token-list", token=gives("[]"), right="UpstreamFailed"),
    auth("token-number", token=gives('{"token": 5}'), right="UpstreamFailed"),
    auth("token-with-newline", token=gives('{"token": "a\\r\\nX: y"}'), right="UpstreamFailed"),
    auth("token-silent", token=raw(b"", Then.STALL), right="UpstreamSlow", is_slow=True),
    auth("token-refused", token=gives('{"token": "another"}'), right="Denied"),
    auth(
        "token-refused-first",
        token=first(gives('{"token": "another"}'), gives(f'{{"token": "{TOKEN}"}}')),
        right="Denied",
    ),
]

ROWS = (*HEADS, *MANIFESTS, *REDIRECTS, *BLOBS, *LIMITS, *AUTHENTICATION)
