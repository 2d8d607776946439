"""Inspect images, and check registry credentials, for a client."""

from typing import Protocol

from gateway.access.shares import Shares
from gateway.domain.access.identity import ANONYMOUS, Caller, Reader, reader_of
from swell.api.inspect import CredentialsRequest, Inspection, InspectRequest
from swell.errors import BadRequest, TooLarge
from swell.oci.platform import Platform, parse_platform
from swell.oci.reference import Reference, parse_reference, parse_registry
from swell.registry.credentials.principal import Principal

MAX_ADDRESS = 2048  # characters
AT_ONCE = 16  # requests of one client, which may take 30 s each
MAX_CREDENTIAL = 64 << 10  # characters; credentials of cloud registries are key files


_STRANGER = Caller(ANONYMOUS, "")


class Inspections(Protocol):
    async def inspect(
        self, image: Reference, platform: Platform | None, principal: Principal, *, referrers: bool = False
    ) -> Inspection: ...


class Logins(Protocol):
    async def accepts(self, registry: str, user_name: str, password: str) -> bool: ...


class Access(Protocol):
    async def pull_principal(self, reader: Reader, image: Reference) -> Principal:
        """The principal that reads *image* for *reader*; raises `ScopeRequired`."""


class Inspector:
    def __init__(self, inspections: Inspections, logins: Logins, access: Access) -> None:
        self._inspections = inspections
        self._logins = logins
        self._access = access
        self._shares = Shares(AT_ONCE)

    async def image(
        self,
        request: InspectRequest,
        platform: str | None,
        caller: Caller = _STRANGER,
        *,
        referrers: bool = False,
    ) -> Inspection:
        """Describe the requested image: an index or, with a *platform*, the image for that platform.

        With *referrers*, list what refers to it: signatures, SBOMs and the like.

        Raises:
            BadRequest: the name or the platform is malformed or missing.
            ScopeRequired: *caller* may not read the image, or not name it.
        """
        name = _required("containerImage", request.container_image, max_length=MAX_ADDRESS)
        if platform and "," in platform:
            raise BadRequest("Only one platform is allowed here")
        chosen = parse_platform(platform) if platform else None
        reference = parse_reference(name)
        caller.identity.check_images([reference])
        principal = await self._access.pull_principal(reader_of(caller), reference)
        async with self._shares.taken(caller):
            return await self._inspections.inspect(reference, chosen, principal, referrers=referrers)

    async def credentials(self, request: CredentialsRequest, caller: Caller = _STRANGER) -> bool:
        """Whether the registry accepts the user name and the password; False also if it cannot be reached."""
        user_name = _required("userName", request.user_name)
        password = _required("password", request.password)
        registry = registry_of(_required("registry", request.registry, max_length=MAX_ADDRESS))
        async with self._shares.taken(caller):
            return await self._logins.accepts(registry, user_name, password)


def registry_of(text: str) -> str:
    """The host of a registry, from a host, a URL or a host with a path: `docker.io` for `https://docker.io/acme`.

    Raises:
        BadRequest: *text* has no valid host.
    """
    _, _, rest = text.strip().rpartition("://")
    return parse_registry(rest.partition("/")[0].lower())


def _required(name: str, value: str | None, *, max_length: int = MAX_CREDENTIAL) -> str:
    if value is None or not value.strip():
        raise BadRequest(f"{name} is required")
    if len(value) > max_length:
        raise TooLarge(f"{name} has more than {max_length} characters")
    return value
