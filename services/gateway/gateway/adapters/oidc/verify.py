"""The signature and the claims of a JSON Web Token.

The libraries are imported when the first token arrives: they take 20 MB of memory, which few servers need.

Sources: RFC 7519, "JSON Web Token", https://www.rfc-editor.org/rfc/rfc7519; RFC 8725, "JSON Web Token Best Current
Practices", https://www.rfc-editor.org/rfc/rfc8725
"""

import base64
import binascii
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from gateway.domain.access.issuers import Claims, Issuer
from swell.errors import TokenInvalid
from swell.log import log

if TYPE_CHECKING:
    from joserfc.jwk import Key

MAX_TOKEN = 16 << 10  # characters
MAX_KEYS = 100
MIN_RSA_BITS = 2048
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_TYPES = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})


class Header(Struct, frozen=True):
    alg: str = ""
    kid: str = ""
    typ: str = ""


class Body(Struct, frozen=True):
    """`aud` is a text, or a list of texts."""

    iss: str = ""
    aud: object = None

    def is_for(self, audience: Sequence[str]) -> bool:
        values = self.aud if isinstance(self.aud, list) else [self.aud]
        return any(each in audience for each in values)


def is_jwt(token: str) -> bool:
    """Return whether *token* has the form of a signed JSON Web Token of at most 16 KiB."""
    return len(token) <= MAX_TOKEN and token.startswith("ey") and _FORM.fullmatch(token) is not None


def unverified(token: str) -> tuple[Header, Body] | None:
    """Return what *token* says, which any client may have written; None if it is malformed."""
    header, body, _ = token.split(".")
    try:
        return msgspec.json.decode(_decoded(header), type=Header), msgspec.json.decode(_decoded(body), type=Body)
    except (ValueError, RecursionError):
        return None


def public_keys(content: bytes) -> dict[str, "Key"]:
    """Parse a JWKS; return the keys for signatures by id. A key without an id has the id `""`.

    Secrets, keys of unknown kinds, and RSA keys below 2048 bits are left out.

    Source: RFC 7517, "JSON Web Key", https://www.rfc-editor.org/rfc/rfc7517

    Raises:
        ValueError: it is not a JWKS.
    """
    from joserfc.errors import JoseError  # noqa: PLC0415
    from joserfc.jwk import import_key  # noqa: PLC0415

    document = msgspec.json.decode(content)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise ValueError("there is no list of keys")
    keys: dict[str, Key] = {}
    for each in listed[:MAX_KEYS]:
        if not isinstance(each, dict) or each.get("kty") not in {"RSA", "EC", "OKP"} or each.get("use") == "enc":
            continue
        public = {name: value for name, value in each.items() if name not in {"d", "p", "q", "dp", "dq", "qi", "oth"}}
        try:
            key = import_key(public)
            bits = getattr(key.raw_value, "key_size", 0) if each["kty"] == "RSA" else MIN_RSA_BITS
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.info("key of an issuer left out", error=type(error).__name__)
            continue
        if bits >= MIN_RSA_BITS:
            keys[each["kid"] if isinstance(each.get("kid"), str) else ""] = key
    return keys


def verified_claims(
    token: str, header: Header, key: "Key", issuer: Issuer, audience: Sequence[str], now: float
) -> Claims:
    """Return the claims of *token* after its signature, issuer, audience and times were checked.

    Raises:
        TokenInvalid: one of them is wrong; the message says which.
    """
    from joserfc import jwt  # noqa: PLC0415
    from joserfc.errors import ExpiredTokenError, JoseError  # noqa: PLC0415
    from joserfc.jws import JWSRegistry  # noqa: PLC0415

    if header.typ.lower() not in _TYPES:
        raise TokenInvalid("the token is not an access token or an ID token")
    algorithms = [each for each in issuer.algorithms if each == header.alg]
    if not algorithms or (key.alg and key.alg != header.alg):
        raise TokenInvalid(f"tokens of {issuer.url} may not be signed with {header.alg[:20]}")
    registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
    registry.max_header_length = registry.max_payload_length = MAX_TOKEN
    claims_registry = jwt.JWTClaimsRegistry(
        now=int(now),
        leeway=issuer.leeway,
        iss={"essential": True, "value": issuer.url},
        aud={"essential": True, "values": list(audience)},
        exp={"essential": True},
        sub={"essential": True},
    )
    try:
        claims = jwt.decode(token, key, algorithms, registry).claims
        claims_registry.validate(claims)
    except ExpiredTokenError as error:
        raise TokenInvalid("the token has expired") from error
    except (JoseError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise TokenInvalid(f"the token is not valid here: {_reason(error)}") from error
    return claims


def _reason(error: Exception) -> str:
    """What is wrong, without any part of the token."""
    claim = getattr(error, "claim", "")
    return f"its claim {claim}" if isinstance(claim, str) and re.fullmatch(r"[a-z_]{1,20}", claim) else "its signature"


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError from error
