"""Accounts: operators in an htpasswd file, and operators and users in the store.

Source: RFC 7617, "The 'Basic' HTTP Authentication Scheme", https://www.rfc-editor.org/rfc/rfc7617
Source: Apache HTTP Server, "htpasswd", https://httpd.apache.org/docs/2.4/programs/htpasswd.html
"""

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Mapping
from functools import partial
from typing import NoReturn, Protocol

import bcrypt
from cachetools import TTLCache

from gateway.access.accounts.password_queue import PasswordQueue
from gateway.access.keys import Actor
from gateway.domain.access.account import Account, is_account_name
from gateway.domain.access.identity import Scope
from swell.concurrency.single_flight import SingleFlight
from swell.errors import AccountRequired
from swell.settings import SettingsInvalid

_BCRYPT_HASH = re.compile(rb"\$2[aby]\$(0[4-9]|1[0-9])\$[./A-Za-z0-9]{53}")  # cost 4 to 19: at most seconds of work
_MAX_PASSWORD = 72  # bytes that bcrypt reads; htpasswd also cuts off longer passwords
_CACHE_SIZE, _CACHE_SECONDS = 1000, 3600.0  # pairs; seconds since their last use
_COST = 12  # of stored accounts: about 0.2 s
_DECOY = b"$2b$12$" + b"." * 53


class StoredAccounts(Protocol):
    """Raises `Unavailable` when the store does not answer."""

    async def get(self, name: str) -> Account | None: ...

    async def exist(self) -> bool:
        """Return whether there is an account."""


class Accounts:
    """The operators in *hashes*, a bcrypt hash for each name, and the accounts that are *stored*.

    A name in *hashes* counts before a stored one, and works without the store.
    """

    def __init__(self, hashes: Mapping[bytes, bytes], stored: StoredAccounts | None = None) -> None:
        self._hashes = hashes
        self._stored = stored
        self._key = os.urandom(32)
        self._verified: TTLCache[bytes, None] = TTLCache(_CACHE_SIZE, _CACHE_SECONDS)
        self._refused: TTLCache[bytes, None] = TTLCache(_CACHE_SIZE, _CACHE_SECONDS)
        self._queue = PasswordQueue()
        self._verifications: SingleFlight[bytes, None] = SingleFlight(kept=False)

    def has(self, name: str) -> bool:
        """Whether *name* is an operator in the file."""
        return name.encode() in self._hashes

    async def require(self, authorization: str | None, address: str = "") -> str:
        """The name of the operator in *authorization*; as `authenticate`.

        Raises:
            ScopeRequired: the account may not administer.
        """
        actor = await self.authenticate(authorization, address)
        if actor.identity:
            actor.identity.require(Scope.ADMINISTER)
        return actor.name

    async def authenticate(self, authorization: str | None, address: str = "") -> Actor:
        """The account in *authorization*, the header of a client at *address*, if the password is right.

        Right and wrong pairs are cached under a keyed hash of them and the hash of the account: only new ones cost
        anything, and right ones pass while others wait. A wrong pair takes as long for an unknown name as for a known
        one. A stored account is read each time.

        Raises:
            AccountRequired: the header is missing or malformed, or the name or the password is wrong.
            TooManyRequests: too many passwords are being verified, or too many of this address.
            Unavailable: the name is not in the file, and the store does not answer.
        """
        name, password = parse_basic(authorization)
        return await self.check(name, password, address)

    async def check(self, name: bytes, password: bytes, address: str) -> Actor:
        """As `authenticate`, for a *name* and a *password*."""
        text = name.decode("utf-8", "replace")
        account = None if name in self._hashes else await self._find(text)
        expected = self._hashes.get(name) or (account.hash.encode() if account else None)
        fingerprint = hashlib.blake2b(name + b":" + (expected or b"") + b":" + password, key=self._key).digest()
        if fingerprint in self._refused:
            raise AccountRequired
        if fingerprint not in self._verified:
            decoy = expected or self._decoy(name)
            await self._verifications.run(fingerprint, lambda: self._verify(fingerprint, password, decoy, address))
            if expected is None:
                self._refuse(fingerprint, address)
            self._queue.remember(address)
        self._verified[fingerprint] = None  # again: its time begins anew
        return Actor(text, account.identity() if account else None)

    async def mark(self, name: str) -> str | None:
        """A digest of all that the rights of the account *name* rest on; None if it is missing or disabled.

        A session that began with another one has ended.
        """
        if expected := self._hashes.get(name.encode()):
            return hashlib.sha256(b"file:" + expected).hexdigest()
        account = await self._stored.get(name) if self._stored and is_account_name(name) else None
        return account.mark() if account and not account.disabled else None

    async def hash(self, password: str, address: str) -> str:
        """The hash to store for *password*; raises `TooManyRequests` as `authenticate`."""
        hashing = partial(bcrypt.hashpw, password.encode(), bcrypt.gensalt(_COST))
        return (await self._queue.run(address, hashing)).decode()

    async def _find(self, name: str) -> Account | None:
        """The stored account *name*, unless it is disabled.

        Raises:
            AccountRequired: there are no accounts at all, so no password is verified.
        """
        if self._stored and is_account_name(name) and (account := await self._stored.get(name)):
            return None if account.disabled else account
        if not self._hashes and not (self._stored and await self._stored.exist()):
            raise AccountRequired
        return None

    def _decoy(self, name: bytes) -> bytes:
        """A hash that no password is checked for in earnest; an unknown name is as slow as one in the file or store."""
        if not self._hashes:
            return _DECOY
        is_like_stored = hashlib.blake2b(name, key=self._key).digest()[0] % 2 and self._stored
        return _DECOY if is_like_stored else next(iter(self._hashes.values()))

    async def _verify(self, fingerprint: bytes, password: bytes, expected: bytes, address: str) -> None:
        if not await self._queue.run(address, partial(bcrypt.checkpw, password[:_MAX_PASSWORD], expected)):
            self._refuse(fingerprint, address)

    def _refuse(self, fingerprint: bytes, address: str) -> NoReturn:
        self._refused[fingerprint] = None
        self._queue.count_wrong(address)
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


def basic(name: str, password: str) -> str:
    """The header for *name* and *password*; not a valid one if the name has a colon, which separates the two."""
    if ":" in name:
        return ""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode("utf-8", "replace")).decode()


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
