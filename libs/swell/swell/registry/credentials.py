"""Credentials: who we are to a registry, as the operator wrote it down.

Source: containers-auth.json(5), which is also Docker's `config.json`.
"""

import base64
import re
from collections.abc import Callable, Mapping

import msgspec
from msgspec import Struct, field

from swell.oci.reference import DOCKER_HUB, Reference
from swell.registry.principal import PUBLIC, Principal, opens
from swell.settings import SettingsInvalid

_ROLE = r"arn:aws[a-z-]*:iam::"
_LOGIN = re.compile(rf"(?P<user>{_ROLE}\d*:role/[^:]*|(?!{_ROLE})[^:]*):(?P<password>.*)", re.DOTALL)
_HUB_NAMES = frozenset({"index.docker.io", "registry-1.docker.io"})


class Credentials(Struct, frozen=True):
    """A user name and its password, for HTTP Basic; or an identity token, which token services take in their place."""

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
        """What `parse_basic` reads."""
        return base64.b64encode(f"{self.user}:{self.password}".encode()).decode()


Allows = Callable[[Principal, Reference], bool]


class Keyring(Struct, frozen=True):
    """Credentials by registry (`quay.io`) or by a path below one (`quay.io/team/tool`).

    `allows` says whether a principal may use them for a repository; by default, only the operator may.
    """

    entries: Mapping[str, Credentials] = field(default_factory=dict)
    allows: Allows = opens

    def find(self, reference: Reference, principal: Principal = PUBLIC) -> Credentials | None:
        """The credentials for *reference* that *principal* may use."""
        return self.entry(reference) if self.allows(principal, reference) else None

    def entry(self, reference: Reference) -> Credentials | None:
        """Those of the longest path that *reference* lies in, whole components only, whoever may use them."""
        path = reference.name
        while path and path not in self.entries:
            path = path.rpartition("/")[0]
        return self.entries.get(path)


class _Entry(Struct):
    auth: str | None = None
    identitytoken: str = ""


class _AuthFile(Struct):
    auths: dict[str, _Entry] = {}


def parse_auth_file(content: bytes, allows: Allows = opens) -> Keyring:
    """Read an auth file, whose credentials *allows* limits.

    Entries without an `auth` of their own (credential helpers) are left out.

    Raises:
        SettingsInvalid: it is no auth file. The message tells nothing of its secrets.
    """
    try:
        file = msgspec.json.decode(content, type=_AuthFile)
    except msgspec.MsgspecError as error:
        raise SettingsInvalid("the registry auth file is not of the form of containers-auth.json(5)") from error
    entries = {path_of(key): _credentials(key, entry) for key, entry in file.auths.items() if entry.auth}
    return Keyring(entries, allows)


def path_of(key: str) -> str:
    """The path that an auth file's *key* names: Docker writes some as URLs, `https://index.docker.io/v1/`."""
    scheme, _, rest = key.rpartition("://")
    host, slash, path = rest.strip("/").partition("/")
    host = DOCKER_HUB if host in _HUB_NAMES else host.lower()
    return host if not slash or scheme or path in {"v1", "v2"} else f"{host}/{path}"


def _credentials(key: str, entry: _Entry) -> Credentials:
    try:
        found = parse_basic(entry.auth or "")
        return Credentials(found.user, found.password, entry.identitytoken)
    except ValueError as error:
        raise SettingsInvalid(
            f"the registry auth file's entry for {key} does not hold base64 of user:password"
        ) from error


def parse_basic(text: str) -> Credentials:
    """Read base64 of `user:password`. Of all users, only an AWS role's ARN has colons.

    Raises:
        ValueError: it is not.
    """
    found = _LOGIN.fullmatch(base64.b64decode(text, validate=True).decode())
    if not found:
        raise ValueError("there is no colon")
    return Credentials(found["user"], found["password"].rstrip("\0"))
