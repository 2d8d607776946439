"""Accounts: the operator's people, who may read usage and take tokens away.

Source: RFC 7617, Basic authentication; the file is Apache's htpasswd, made by `htpasswd -B`.
"""

import asyncio
import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping

import bcrypt
from cachetools import TTLCache

from swell.errors import AccountRequired, TooManyRequests
from swell.settings import SettingsInvalid

_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}")  # up to seconds of work, not hours
_LONGEST = 72  # bytes of a password that bcrypt reads; htpasswd, too, cuts off what is longer
_WAITING = 32  # who may wait for the one that is verified; a flood of guesses costs one core at most
_REMEMBERED = 60.0  # seconds


class Accounts:
    """Knows the accounts of *hashes*, a bcrypt hash for each name."""

    def __init__(self, hashes: Mapping[bytes, bytes]) -> None:
        self._hashes = hashes
        self._key = os.urandom(32)
        self._good: TTLCache[bytes, bool] = TTLCache(1000, _REMEMBERED)
        self._one = asyncio.Semaphore(1)
        self._waiting = 0

    async def admit(self, authorization: str | None) -> None:
        """Let whoever sent the header *authorization* pass.

        A pair that was right is remembered for a minute, under a keyed hash, so that polling costs nothing; one that is
        wrong takes as long for a name that we do not know as for one that we do.

        Raises:
            AccountRequired: it is none, or no right one.
            TooManyRequests: too many are being verified just now.
        """
        name, password = parse_basic(authorization)
        if not self._hashes:
            raise AccountRequired
        seen = hashlib.blake2b(name + b":" + password, key=self._key).digest()
        if seen not in self._good:
            await self._verify(name, password)
            self._good[seen] = True

    async def _verify(self, name: bytes, password: bytes) -> None:
        if self._waiting >= _WAITING:
            raise TooManyRequests("too many passwords are being verified", retry_after=1)
        known = self._hashes.get(name) or next(iter(self._hashes.values()))
        self._waiting += 1
        try:
            async with self._one:
                is_right = await asyncio.to_thread(bcrypt.checkpw, password[:_LONGEST], known)
        finally:
            self._waiting -= 1
        if not is_right or name not in self._hashes:
            raise AccountRequired


def parse_accounts(content: bytes) -> dict[bytes, bytes]:
    """Read an htpasswd file: `name:hash` a line, empty lines and those that begin with `#` aside.

    Raises:
        SettingsInvalid: a line is something else; names its number.
    """
    hashes: dict[bytes, bytes] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, _, told = line.strip().partition(b":")
        if not (name and _HASH.fullmatch(told)):
            raise SettingsInvalid(f"line {number} of the accounts file is no name:bcrypt-hash; make it by htpasswd -B")
        hashes[name] = told
    return hashes


def parse_basic(authorization: str | None) -> tuple[bytes, bytes]:
    """The name and the password in a header `Basic <base64 of name:password>`.

    Raises:
        AccountRequired: there is no such header, or it is malformed.
    """
    scheme, _, encoded = (authorization or "").partition(" ")
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise AccountRequired from error
    name, colon, password = decoded.partition(b":")
    if scheme.lower() != "basic" or not colon:
        raise AccountRequired
    return name, password
