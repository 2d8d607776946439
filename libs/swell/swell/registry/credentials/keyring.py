"""Credentials for registries, from an auth file.

Source: containers-auth.json(5), https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md; Docker's
`config.json` has the same form.
"""

import base64
import re
from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec
from msgspec import Struct, field

from swell.oci.reference import DOCKER_HUB, Reference
from swell.registry.credentials.principal import PUBLIC, Principal, opens
from swell.settings import SettingsInvalid

_ROLE = r"arn:aws[a-z-]*:iam::"
_LOGIN = re.compile(rf"(?P<user>{_ROLE}\d*:role/[^:]*|(?!{_ROLE})[^:]*):(?P<password>.*)", re.DOTALL)
_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io"})


class Credentials(Struct, frozen=True):
    """A user name and password for HTTP Basic; or an identity token, which token services accept instead."""

    user: str
    password: str
    identity_token: str = ""

    def __repr__(self) -> str:
        return f"Credentials({self.user!r}, ...)"

    @property
    def basic(self) -> str:
        """The value of an `Authorization` header."""
        return f"Basic {self.encoded}"

    @property
    def encoded(self) -> str:
        """The base64 form that `parse_basic` reads."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


Allows = Callable[[Principal, Reference], bool]


class UsersKeyring(Protocol):
    """See `swell.registry.credentials.user_credentials.UserCredentials`."""

    async def load(self, reference: Reference, principal: Principal) -> Credentials | None: ...

    def known(self, reference: Reference, principal: Principal) -> Credentials | None: ...


class Keyring(Struct, frozen=True):
    """Credentials by registry (`quay.io`) or by a path below one (`quay.io/team/tool`).

    `allows` says whether a principal may use them for a repository; by default, only the operator may. `users` has the
    credentials of the owners in a principal, which precede the operator's.
    """

    entries: Mapping[str, Credentials] = field(default_factory=dict)
    allows: Allows = opens
    users: UsersKeyring | None = None

    def find(self, reference: Reference, principal: Principal = PUBLIC) -> Credentials | None:
        """Return the credentials for *reference* if *principal* may use them; those of users after `load` only."""
        if self.users and (known := self.users.known(reference, principal)):
            return known
        return self.entry(reference) if self.allows(principal, reference) else None

    async def load(self, reference: Reference, principal: Principal) -> Credentials | None:
        """Look up the credentials of the owners in *principal* for *reference*, and return them.

        Raises:
            Denied: an owner's access was withdrawn.
            Unavailable: they cannot be looked up now.
        """
        return await self.users.load(reference, principal) if self.users else None

    def entry(self, reference: Reference) -> Credentials | None:
        """Return the entry of the longest matching path, in whole components, without a check of the principal."""
        path = reference.name
        while path and path not in self.entries:
            path = path.rpartition("/")[0]
        return self.entries.get(path)


class _Entry(Struct):
    auth: str | None = None
    identitytoken: str = ""


class _AuthFile(Struct):
    auths: dict[str, _Entry] = {}


def parse_auth_file(content: bytes, allows: Allows = opens, users: UsersKeyring | None = None) -> Keyring:
    """Parse an auth file; *allows* decides which principals may use its credentials. *users* has those of users.

    Entries without `auth` (credential helpers) are ignored.

    Raises:
        SettingsInvalid: it is not an auth file. The message contains no secrets.
    """
    try:
        file = msgspec.json.decode(content, type=_AuthFile)
    except msgspec.MsgspecError as error:
        raise SettingsInvalid("the registry auth file is not of the form of containers-auth.json(5)") from error
    entries = {path_of(key): _credentials(key, entry) for key, entry in file.auths.items() if entry.auth}
    return Keyring(entries, allows, users)


def path_of(key: str) -> str:
    """Return the path that an auth file's *key* names; some keys are URLs, as `https://index.docker.io/v1/`."""
    scheme, _, rest = key.rpartition("://")
    host, slash, path = rest.strip("/").partition("/")
    host = DOCKER_HUB if host in _HUB_NAMES else host.lower()
    return host if not slash or scheme or path in {"v1", "v2"} else f"{host}/{path}"


def _credentials(key: str, entry: _Entry) -> Credentials:
    try:
        parsed = parse_basic(entry.auth or "")
        return Credentials(parsed.user, parsed.password, entry.identitytoken)
    except ValueError as error:
        raise SettingsInvalid(
            f"the registry auth file's entry for {key} does not hold base64 of user:password"
        ) from error


def parse_basic(text: str) -> Credentials:
    """Parse base64 of `user:password`. The only user names with colons are ARNs of AWS roles.

    Raises:
        ValueError: it has another form.
    """
    match = _LOGIN.fullmatch(base64.b64decode(text, validate=True).decode())
    if not match:
        raise ValueError("there is no colon")
    return Credentials(match["user"], match["password"].rstrip("\0"))
