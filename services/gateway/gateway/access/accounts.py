"""Operator accounts, which may read usage metrics and revoke tokens.

Source: RFC 7617, "The 'Basic' HTTP Authentication Scheme", https://www.rfc-editor.org/rfc/rfc7617
Source: Apache HTTP Server, "htpasswd", https://httpd.apache.org/docs/2.4/programs/htpasswd.html
"""

import asyncio
import base64
import binascii
import hashlib
import os
import re
from collections import Counter
from collections.abc import Mapping

import bcrypt
from cachetools import TTLCache

from swell.concurrency.single_flight import SingleFlight
from swell.errors import AccountRequired, TooManyRequests
from swell.settings import SettingsInvalid

_BCRYPT_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}")  # cost 4 to 19: at most seconds of work
_MAX_PASSWORD = 72  # bytes that bcrypt reads; htpasswd also cuts off longer passwords
_MAX_PENDING = 32  # verifications, of which one runs: a flood of guesses uses at most one core
_MAX_PENDING_OF_ADDRESS = 4  # different passwords: one client cannot lock the operators out
_CACHE_SECONDS = 60.0


class Accounts:
    """The accounts in *hashes*: a bcrypt hash for each name."""

    def __init__(self, hashes: Mapping[bytes, bytes]) -> None:
        self._hashes = hashes
        self._key = os.urandom(32)
        self._verified: TTLCache[bytes, bool] = TTLCache(1000, _CACHE_SECONDS)
        self._running = asyncio.Semaphore(1)
        self._pending: Counter[str] = Counter()
        self._verifications: SingleFlight[bytes, None] = SingleFlight(kept=False)

    async def require(self, authorization: str | None, address: str = "") -> str:
        """The name of the account in *authorization*, the header of a client at *address*, if the password is right.

        A correct pair is cached for a minute under a keyed hash, so that polling is cheap. A wrong pair takes as long
        for an unknown name as for a known one.

        Raises:
            AccountRequired: the header is missing or malformed, or the name or the password is wrong.
            TooManyRequests: 32 passwords are being verified already, or 4 of this address.
        """
        name, password = parse_basic(authorization)
        if not self._hashes:
            raise AccountRequired
        fingerprint = hashlib.blake2b(name + b":" + password, key=self._key).digest()
        if fingerprint not in self._verified:
            await self._verifications.run(fingerprint, lambda: self._verify(name, password, address))
            self._verified[fingerprint] = True
        return name.decode("utf-8", "replace")

    async def _verify(self, name: bytes, password: bytes, address: str) -> None:
        if self._pending.total() >= _MAX_PENDING or self._pending[address] >= _MAX_PENDING_OF_ADDRESS:
            raise TooManyRequests("too many passwords are being verified", retry_after=1)
        expected = self._hashes.get(name) or next(iter(self._hashes.values()))
        self._pending[address] += 1
        try:
            async with self._running:
                is_correct = await asyncio.to_thread(bcrypt.checkpw, password[:_MAX_PASSWORD], expected)
        finally:
            self._pending -= Counter({address: 1})
        if not is_correct or name not in self._hashes:
            raise AccountRequired


def parse_accounts(content: bytes) -> dict[bytes, bytes]:
    """Parse an htpasswd file: a line is `name:hash`, empty, or a comment that begins with `#`.

    Raises:
        SettingsInvalid: a line has another form; the message has its number.
    """
    hashes: dict[bytes, bytes] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip() or line.startswith(b"#"):
            continue
        name, _, value = line.strip().partition(b":")
        if not (name and _BCRYPT_HASH.fullmatch(value)):
            raise SettingsInvalid(
                f"line {number} of the accounts file is not name:bcrypt-hash; make the file with htpasswd -B"
            )
        hashes[name] = value
    return hashes


def parse_basic(authorization: str | None) -> tuple[bytes, bytes]:
    """The name and the password in a header `Basic <base64 of name:password>`.

    Raises:
        AccountRequired: the header is missing or malformed.
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
