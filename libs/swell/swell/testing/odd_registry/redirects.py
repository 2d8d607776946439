"""Misbehaviour of redirects and of limits."""

from swell.testing.odd_registry.rows import (
    at,
    hops,
    limited,
    redirects,
    row,
)
from swell.testing.odd_registry.server import (
    says,
)

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
    redirects("to-absence", "302 Found", "/stored/absent/x", "ManifestUnknown"),
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
    redirects("absent", "307 Temporary Redirect", "{elsewhere}/stored/absent/layer", "BlobUnknown", what="layer"),
    redirects("loop", "307 Temporary Redirect", "?", "UpstreamFailed", what="layer"),
    redirects(
        "to-metadata", "307 Temporary Redirect", "http://169.254.169.254/latest", "AddressForbidden", what="layer"
    ),
    row("layer-refused", replies=at(says("403 Forbidden", body=b"<Error>expired</Error>"), "GET stored layer")),
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
