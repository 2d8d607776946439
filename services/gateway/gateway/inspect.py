"""Asking registries for a client: what an image is made of, and whether they take a name and a password."""

from typing import Protocol

from swell.api.inspect import CredentialsRequest, Inspection, InspectRequest
from swell.errors import BadRequest, TooLarge
from swell.oci.platform import Platform, parse_platform
from swell.oci.reference import Reference, parse_reference, parse_registry
from swell.registry.principal import PUBLIC, Principal

MAX_ADDRESS = 2048  # characters
MAX_CREDENTIAL = 64 << 10  # characters; keys of clouds are files


class Inspections(Protocol):
    async def inspect(self, image: Reference, platform: Platform | None, principal: Principal) -> Inspection: ...


class Logins(Protocol):
    async def accepts(self, registry: str, user_name: str, password: str) -> bool: ...


class Access(Protocol):
    async def pull_principal(self, principal: Principal, image: Reference) -> Principal:
        """Who reads *image* for *principal*; raises `ScopeRequired`."""


class Inspector:
    def __init__(self, inspections: Inspections, logins: Logins, access: Access) -> None:
        self._inspections = inspections
        self._logins = logins
        self._access = access

    async def image(self, request: InspectRequest, platform: str | None, principal: Principal = PUBLIC) -> Inspection:
        """What the registry has under the image's name: an index, or one image, for *platform* where that is given."""
        image = _said("containerImage", request.container_image, longest=MAX_ADDRESS)
        if platform and "," in platform:
            raise BadRequest("Only one platform is allowed here")
        chosen = parse_platform(platform) if platform else None
        reference = parse_reference(image)
        reader = await self._access.pull_principal(principal, reference)
        return await self._inspections.inspect(reference, chosen, reader)

    async def credentials(self, request: CredentialsRequest) -> bool:
        """Whether the registry takes the name and the password; false as well when it cannot be asked."""
        user_name = _said("userName", request.user_name)
        password = _said("password", request.password)
        registry = registry_of(_said("registry", request.registry, longest=MAX_ADDRESS))
        return await self._logins.accepts(registry, user_name, password)


def registry_of(text: str) -> str:
    """The registry that *text* names, be it a URL or with a path behind it: `docker.io` for `https://docker.io/acme`.

    Raises:
        BadRequest: it names none.
    """
    _, _, rest = text.strip().rpartition("://")
    return parse_registry(rest.partition("/")[0].lower())


def _said(name: str, value: str | None, *, longest: int = MAX_CREDENTIAL) -> str:
    if value is None or not value.strip():
        raise BadRequest(f"{name} is required")
    if len(value) > longest:
        raise TooLarge(f"{name} has more than {longest} characters")
    return value
