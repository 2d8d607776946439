"""Challenges: the authentication that a registry requires, in the header `WWW-Authenticate`.

Source: RFC 9110, section 11, https://www.rfc-editor.org/rfc/rfc9110#section-11; distribution, "Token Authentication",
https://distribution.github.io/distribution/spec/auth/token/
"""

import re
from collections.abc import Iterable, Mapping
from urllib.request import parse_http_list

from msgspec import Struct

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9._-]*)(?:\s+(.*))?", re.DOTALL)
_PARAMETER = re.compile(r"([A-Za-z0-9._-]+)\s*=\s*(.*)", re.DOTALL)


class Challenge(Struct, frozen=True):
    """One challenge: its `scheme` and the names of its `parameters` are in lower case."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """Parse `WWW-Authenticate` *headers*, each with one or more challenges; malformed parts are ignored."""
    parsed: list[tuple[str, dict[str, str]]] = []
    for part in (part for header in headers for part in parse_http_list(header)):
        parameter = _PARAMETER.fullmatch(part)
        if parameter is None and (scheme := _SCHEME.fullmatch(part)):
            parsed.append((scheme[1].lower(), {}))
            parameter = _PARAMETER.fullmatch(scheme[2] or "")
        if parameter and parsed:
            parsed[-1][1].setdefault(parameter[1].lower(), _unquoted(parameter[2]))
    return [Challenge(scheme, parameters) for scheme, parameters in parsed]


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """Return the challenge to answer: Bearer with a realm, or else Basic; None when neither is there."""
    known = [c for c in challenges if c.scheme == "basic" or (c.scheme == "bearer" and c.parameters.get("realm"))]
    return min(known, key=lambda challenge: challenge.scheme != "bearer", default=None)


def _unquoted(value: str) -> str:
    """Return *value* without its quotes; `parse_http_list` has resolved backslashes already."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
