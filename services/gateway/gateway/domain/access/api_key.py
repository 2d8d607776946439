"""API keys that this server issues: their text, their hash, and the record of each one.

A key is `swl_`, 32 characters for 160 random bits, and 7 for a CRC-32 of them: secret scanners recognise a leaked key
without calling the server, and the server refuses a mistyped one without calling its store.
Source: GitHub, "Behind GitHub's new authentication token formats",
https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/
"""

import re
import secrets
from base64 import b32encode
from datetime import datetime
from hashlib import blake2b
from zlib import crc32

from msgspec import Struct

from gateway.domain.access.identity import Identity, Scope
from swell.registry.credentials.principal import OPERATOR, PUBLIC, limited_to

PREFIX = "swl_"
_KEY = re.compile(PREFIX + "([a-z2-7]{32})([a-z2-7]{7})")


class IssuedKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key in the store. `id` is the hash of the key: it is public, and opens nothing.

    The members are those of `ApiKey` in the keys file; in addition, requests may name only images below `repositories`,
    if there are some. `created_by` is the user or the operator's account that made it.
    """

    id: str
    user: str
    created: datetime
    created_by: str
    scopes: frozenset[Scope]
    name: str = ""
    email: str = ""
    organisation: str = ""
    repositories: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    expires: datetime | None = None

    def identity(self) -> Identity:
        principal = limited_to(self.repositories) if self.repositories else OPERATOR
        return Identity(
            user=self.user,
            email=self.email,
            organisation=self.organisation,
            pulls_as=principal if Scope.OPERATOR_PULL in self.scopes else PUBLIC,
            pushes_as=principal if Scope.OPERATOR_PUSH in self.scopes else PUBLIC,
            secrets=frozenset(self.secrets),
            scopes=self.scopes,
            repositories=self.repositories,
            key_id=self.id,
            expires=self.expires,
        )


def new_key() -> str:
    """A new key of 160 random bits."""
    body = b32encode(secrets.token_bytes(20)).decode().lower()
    return f"{PREFIX}{body}{_checksum(body)}"


def is_key(text: str) -> bool:
    """Whether *text* has the form of a key, and its checksum is right."""
    return bool((match := _KEY.fullmatch(text)) and _checksum(match[1]) == match[2])


def id_of(key: str) -> str:
    """The id of *key*: a hash of 128 bits in hex.

    A fast hash without salt is enough for random keys: there is no dictionary to try.
    """
    return blake2b(key.encode(), digest_size=16, person=b"swell api key").hexdigest()


def _checksum(body: str) -> str:
    return b32encode(crc32(body.encode()).to_bytes(4, "big")).decode().lower().rstrip("=")
