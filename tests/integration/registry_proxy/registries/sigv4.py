"""AWS's side of signature version 4, written from its description and independent of the library that signs.

Source: AWS IAM user guide, "Create a signed AWS API request",
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

Only requests that need no URL encoding.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8}/([^/]+)/([^/]+)/aws4_request), SignedHeaders=([^,]+), Signature=(\w+)"
)


def signature(
    method: str, path: str, headers: Mapping[str, str], signed: str, body: bytes, scope: str, secret: str
) -> str:
    """The signature of a request without a query; *headers* by their names in lower case."""
    canonical = "".join(f"{name}:{headers[name].strip()}\n" for name in signed.split(";"))
    request = "\n".join((method, path, "", canonical, signed, hashlib.sha256(body).hexdigest()))
    hashed = hashlib.sha256(request.encode()).hexdigest()
    to_sign = "\n".join(("AWS4-HMAC-SHA256", headers["x-amz-date"], scope, hashed))
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, to_sign.encode(), "sha256").hexdigest()


def signer(
    method: str, path: str, headers: Mapping[str, str], body: bytes, secrets: Mapping[str, str]
) -> tuple[str, str, str] | None:
    """Return key id, region and service of a request's signature; None unless it is made with one of *secrets*."""
    lower = {name.lower(): value for name, value in headers.items()}
    found = _AUTHORIZATION.fullmatch(lower.get("authorization", ""))
    if not found or found[1] not in secrets or not {"host", "x-amz-date"} <= set(found[5].split(";")):
        return None
    expected = signature(method, path, lower, found[5], body, found[2], secrets[found[1]])
    return (found[1], found[3], found[4]) if hmac.compare_digest(expected, found[6]) else None
