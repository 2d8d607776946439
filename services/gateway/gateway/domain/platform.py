"""The Seqera Platforms that the operator has named, and what a request says about its sender there."""

import hashlib
import hmac
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Self

import msgspec
from msgspec import Meta, Struct
from yarl import URL

from swell.api.containers import ContainerRequest
from swell.api.inspect import InspectRequest
from swell.api.mirrors import MirrorRequest
from swell.net.addresses import is_loopback
from swell.settings import SettingsInvalid

DEFAULT_ENDPOINT = "https://api.cloud.seqera.io"
_ALIASES = {"api.tower.nf": "api.cloud.seqera.io", "api.stage-tower.net": "api.cloud.stage-seqera.io"}
MAX_ENDPOINT = 500  # characters
KIND = "platform"
"""The kind of the owners of workspaces' credentials in principals."""


class Login(Struct, frozen=True, kw_only=True):
    """The members of a request body that say who sends it. `refresh_token` renews the access token."""

    token: str | None = None
    endpoint: str | None = None
    refresh_token: str | None = None
    workspace_id: int | None = None
    workflow_id: str | None = None

    @classmethod
    def of(cls, request: ContainerRequest | InspectRequest | MirrorRequest) -> Self:
        """Return what *request* says about its sender. A list of mirrors belongs to no run of a workflow."""
        return cls(
            token=request.tower_access_token,
            endpoint=request.tower_endpoint,
            refresh_token=request.tower_refresh_token or None,
            workspace_id=request.tower_workspace_id,
            workflow_id=(not isinstance(request, MirrorRequest) and request.workflow_id) or None,
        )

    def __repr__(self) -> str:
        return f"Login({self.endpoint!r}, ...)"


class Platform(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Platform whose API is at `endpoint`, a URL.

    `secrets` are the SHA-256 of the tokens in the path of its pairing socket, in lower-case hex: one, or two while the
    token is changed. With `direct`, this server sends its requests over HTTPS itself, not through the socket. With
    `roles`, credentials of workspaces may name AWS roles, which this server assumes with its own keys. Usage of all
    users is counted for `organisation`.
    """

    endpoint: Annotated[str, Meta(max_length=MAX_ENDPOINT)]
    secrets: Annotated[tuple[Annotated[str, Meta(pattern="^[0-9a-f]{64}$")], ...], Meta(max_length=8)] = ()
    direct: bool = False
    roles: bool = False
    organisation: Annotated[str, Meta(max_length=200)] = ""

    @property
    def id(self) -> str:
        """A short name for keys and subjects."""
        return hashlib.blake2b(self.endpoint.encode(), digest_size=10).hexdigest()

    @property
    def authority(self) -> str:
        """`host`, or `host:port` if the port is not the default of the scheme."""
        return URL(self.endpoint).host_port_subcomponent or ""

    def opens(self, secret: str) -> bool:
        """Return whether *secret* is one of this Platform."""
        digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
        return any(hmac.compare_digest(digest, each) for each in self.secrets)


class PlatformFile(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of the file: a table `[[platform]]` for each."""

    platform: Annotated[tuple[Platform, ...], Meta(max_length=100)] = ()


class Platforms:
    """The named Platforms by their endpoints; the first one is meant when a request names none."""

    def __init__(self, platforms: Iterable[Platform] = ()) -> None:
        self._by_endpoint: Mapping[str, Platform] = {each.endpoint: each for each in platforms}

    def __bool__(self) -> bool:
        return bool(self._by_endpoint)

    def __iter__(self) -> Iterator[Platform]:
        return iter(self._by_endpoint.values())

    def find(self, endpoint: str | None) -> Platform | None:
        """Return the Platform with *endpoint*, in any spelling; None if the operator has not named it."""
        if not endpoint:
            return next(iter(self._by_endpoint.values()), None)
        return self._by_endpoint.get(normalised(endpoint) or "")

    def by_id(self, platform_id: str) -> Platform | None:
        return next((each for each in self._by_endpoint.values() if each.id == platform_id), None)


def normalised(endpoint: str) -> str | None:
    """Return *endpoint* in its canonical spelling: current host names, no slash at the end; None if it is no URL."""
    if len(endpoint) > MAX_ENDPOINT:
        return None
    try:
        url = URL(endpoint.strip())
        if url.scheme not in {"http", "https"} or not url.host or url.user or url.query_string or url.fragment:
            return None
        return str(url.with_host(_ALIASES.get(url.host, url.host))).rstrip("/")
    except ValueError:
        return None


def parse_platforms(content: bytes) -> Platforms:
    """Parse the file of Platforms (TOML).

    Raises:
        SettingsInvalid: it has another form; an endpoint is invalid or occurs twice, has no secret and is not direct,
            or would get tokens over a connection without TLS.
    """
    try:
        file = msgspec.toml.decode(content, type=PlatformFile)
    except (ValueError, msgspec.MsgspecError) as error:
        raise SettingsInvalid(f"the file of Seqera Platforms is invalid: {error}") from error
    platforms = dict[str, Platform]()
    for each in file.platform:
        if (endpoint := normalised(each.endpoint)) is None:
            raise SettingsInvalid(f"the Platform endpoint {each.endpoint} is not an http or https URL")
        if endpoint in platforms:
            raise SettingsInvalid(f"the Platform endpoint {endpoint} occurs twice")
        if not (each.secrets or each.direct):
            raise SettingsInvalid(f"the Platform {endpoint} needs `secrets`, for its pairing socket, or `direct`")
        if each.direct and endpoint.startswith("http:") and not is_loopback(URL(endpoint).host or ""):
            raise SettingsInvalid(f"the Platform {endpoint} is direct, so its endpoint must begin with https://")
        platforms[endpoint] = msgspec.structs.replace(each, endpoint=endpoint)
    authorities = [each.authority for each in platforms.values()]
    if len(set(authorities)) < len(authorities):
        raise SettingsInvalid("two Platforms have the same host: their users could not be distinguished")
    return Platforms(platforms.values())
