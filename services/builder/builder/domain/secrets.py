"""Masks known secrets in the output of a build: as they are, URL-encoded, and inside base64 texts."""

from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit

import msgspec

MASK = b"***"

_SHORTEST = 4  # bytes; shorter secrets would mask ordinary words
_SHORTEST_CODE = 6  # characters of base64
_LONG_LINE = 4096
_WRAPPED = 60  # base64(1) wraps lines at 76 characters


class _Login(msgspec.Struct, frozen=True):
    """The secret fields of an entry of an auth file."""

    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _AuthFile(msgspec.Struct, frozen=True):
    auths: dict[str, _Login] = {}


def secrets_of(auth_file: bytes) -> set[bytes]:
    """Return the passwords and tokens in *auth_file*, and their encoded forms; none if it is invalid.

    Source: containers-auth.json(5), https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md
    """
    try:
        logins = msgspec.json.decode(auth_file, type=_AuthFile).auths.values()
    except msgspec.DecodeError:
        return set()
    tokens = {text.encode() for each in logins for text in (each.auth, each.identitytoken, each.registrytoken) if text}
    return tokens | {password for each in logins if (password := _password(each.auth))}


def secrets_of_url(url: str) -> set[bytes]:
    """Return the password in *url*, as written and decoded, and the value of its HTTP Basic header."""
    parsed = urlsplit(url)
    if not parsed.password:
        return set()
    user, password = unquote(parsed.username or ""), unquote(parsed.password)
    return {parsed.password.encode(), password.encode(), b64encode(f"{user}:{password}".encode())}


def _password(auth: str) -> bytes:
    try:
        return b64decode(auth).partition(b":")[2].strip(b"\0")
    except ValueError:
        return b""


class Masker:
    """Masks *secrets* that have at least four bytes."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        spellings = {spelling for secret in secrets for spelling in _spellings(secret)}
        self._spellings = sorted(spellings, key=len, reverse=True)
        self._longest = max(map(len, self._spellings), default=0)

    def mask(self, line: bytes) -> bytes:
        for spelling in self._spellings:
            if spelling in line:
                line = line.replace(spelling, MASK)
        return line

    def mask_across(self, first: bytes, second: bytes) -> tuple[bytes, bytes]:
        """Mask a secret that begins at the end of *first* and continues in *second*; return both.

        The mask is at the end of the first; the rest of the secret is removed from the second.
        """
        end, start = first[-self._longest :], second[: self._longest]
        for spelling in self._spellings:
            at = (end + start).find(spelling, max(0, len(end) - len(spelling) + 1))
            if 0 <= at < len(end):
                first = first[: len(first) - len(end) + at] + MASK
                return first, second[at + len(spelling) - len(end) :]
        return first, second


def may_go_on(line: bytes) -> bool:
    """Whether the next line may continue *line*: it is a piece of a longer line, or a line of base64."""
    return is_piece(line) or (len(line) >= _WRAPPED and b" " not in line)


def is_piece(line: bytes) -> bool:
    """Whether *line*, without its colours, may be a piece of a longer line."""
    return len(line) >= _LONG_LINE


def _spellings(secret: bytes) -> Iterator[bytes]:
    for part in secret.splitlines():
        if len(part) < _SHORTEST:
            continue
        yield part
        yield quote(part, safe="").encode()
        for encode in (b64encode, urlsafe_b64encode):
            yield from _codes(part, encode)


def _codes(secret: bytes, encode: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """Yield the base64 characters that depend on *secret* only, for each of the three offsets where it may begin."""
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        code = encode(b"\0" * before + secret)[first:last]
        if len(code) >= _SHORTEST_CODE:
            yield code
