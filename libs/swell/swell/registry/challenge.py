"""Challenges: how a registry tells what it wants to see before it answers.

Source: RFC 9110, section 11; distribution-spec's token authentication.
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
    """Read `WWW-Authenticate` *headers*; each may hold several challenges. What makes no sense is left out."""
    found: list[tuple[str, dict[str, str]]] = []
    for part in (part for header in headers for part in parse_http_list(header)):
        parameter = _PARAMETER.fullmatch(part)
        if parameter is None and (scheme := _SCHEME.fullmatch(part)):
            found.append((scheme[1].lower(), {}))
            parameter = _PARAMETER.fullmatch(scheme[2] or "")
        if parameter and found:
            found[-1][1].setdefault(parameter[1].lower(), _unquoted(parameter[2]))
    return [Challenge(scheme, parameters) for scheme, parameters in found]


def choose(challenges: Iterable[Challenge]) -> Challenge | None:
    """The one to answer: Bearer with a realm before Basic; None when we know how to answer none."""
    known = [c for c in challenges if c.scheme == "basic" or (c.scheme == "bearer" and c.parameters.get("realm"))]
    return min(known, key=lambda challenge: challenge.scheme != "bearer", default=None)


def _unquoted(value: str) -> str:
    """*value* without its quotes; `parse_http_list` has already resolved what stood behind backslashes."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value
