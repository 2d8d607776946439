"""Secrets that we know, masked in what a build says: as they are, in a URL, and inside any base64 text."""

from base64 import b64decode, b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, unquote, urlsplit

import msgspec

MASK = b"***"

_SHORTEST = 4  # bytes; less than that would mask half of every log
_SHORTEST_CODE = 6  # characters of base64
_LONG_LINE = 4096
_WRAPPED = 60  # `base64` breaks its lines at 76 characters


class _Login(msgspec.Struct, frozen=True):
    """One entry of an auth file; what it has beside these is no secret."""

    auth: str = ""
    identitytoken: str = ""
    registrytoken: str = ""


class _AuthFile(msgspec.Struct, frozen=True):
    auths: dict[str, _Login] = {}


def secrets_of(auth_file: bytes) -> set[bytes]:
    """The passwords and tokens in *auth_file*, and what holds them; of one that cannot be read, nothing.

    Source: containers-auth.json(5).
    """
    try:
        logins = msgspec.json.decode(auth_file, type=_AuthFile).auths.values()
    except msgspec.DecodeError:
        return set()
    told = {text.encode() for each in logins for text in (each.auth, each.identitytoken, each.registrytoken) if text}
    return told | {password for each in logins if (password := _password(each.auth))}


def secrets_of_url(url: str) -> set[bytes]:
    """The password in *url*, as it is written there and as it is meant, and what HTTP Basic makes of it."""
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
    """Masks *secrets*. Those shorter than four bytes are words like any other and stay."""

    def __init__(self, secrets: Iterable[bytes] = ()) -> None:
        spelt = {spelling for secret in secrets for spelling in _spellings(secret)}
        self._spellings = sorted(spelt, key=len, reverse=True)
        self._longest = max(map(len, self._spellings), default=0)

    def mask(self, line: bytes) -> bytes:
        for spelling in self._spellings:
            if spelling in line:
                line = line.replace(spelling, MASK)
        return line

    def mask_across(self, first: bytes, second: bytes) -> tuple[bytes, bytes]:
        """*first* and *second*, of which the second may go on where the first was cut: a secret that lies in both is
        masked at the end of the one and missing at the beginning of the other."""
        end, start = first[-self._longest :], second[: self._longest]
        for spelling in self._spellings:
            at = (end + start).find(spelling, max(0, len(end) - len(spelling) + 1))
            if 0 <= at < len(end):
                first = first[: len(first) - len(end) + at] + MASK
                return first, second[at + len(spelling) - len(end) :]
        return first, second


def may_go_on(line: bytes) -> bool:
    """Whether what follows *line* may belong to it: it is a piece of a longer one, or a line of base64."""
    return is_piece(line) or (len(line) >= _WRAPPED and b" " not in line)


def is_piece(line: bytes) -> bool:
    """Whether *line* is so long that it may be a piece of a longer one, without its colours."""
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
    """What every base64 text has that holds *secret*, wherever it begins: the characters that are made of it alone."""
    for before in range(3):
        first, last = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
        code = encode(b"\0" * before + secret)[first:last]
        if len(code) >= _SHORTEST_CODE:
            yield code
