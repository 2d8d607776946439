"""`/v1alpha2/credentials`: credentials for registries that users and organisations store."""

from litestar import Controller, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from gateway.access.keys import Actor
from gateway.access.vault import Vault, owner_for, path_of
from gateway.domain.access.identity import ANONYMOUS, Caller
from gateway.domain.access.vault import Entry, organisation_owner, parts_of
from gateway.handlers.access.credentials import validated
from gateway.http.bodies import HttpRequest, read
from gateway.http.caller import Callers
from gateway.inspect import Inspector
from swell.api.credentials import StoredCredential, StoredCredentials, StoreRequest
from swell.api.inspect import CredentialsRequest
from swell.errors import BadRequest, NotFound
from swell.registry.credentials.keyring import Credentials

MAX_USER_NAME, MAX_PASSWORD = 500, 16 << 10  # characters


class VaultController(Controller):
    path = "/v1alpha2/credentials"

    @get()
    async def list(
        self,
        vault: NamedDependency[Vault],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        org: FromQuery[str | None] = None,
    ) -> StoredCredentials:
        """The credentials of an owner; by default those of the user and of the user's organisation."""
        return StoredCredentials(credentials=await credentials_of(vault, actor, user, org))

    @put("/{registry:path}", status_code=200, request_max_body_size=None)  # `read` limits the size
    async def store(
        self,
        request: HttpRequest,
        registry: FromPath[str],
        vault: NamedDependency[Vault],
        inspector: NamedDependency[Inspector],
        callers: NamedDependency[Callers],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        org: FromQuery[str | None] = None,
    ) -> StoredCredential:
        """Store a credential after its registry has accepted it."""
        owner, path = owner_for(actor, user, org), path_of(registry)
        vault.check_possible()
        body = await read(request, StoreRequest)
        await check_accepted(request, path, body, inspector, callers)
        credentials = Credentials(body.user_name, body.password)
        entry = await vault.put(actor, owner, path, credentials, build_secret=body.build_secret)
        return answer_of(owner, path, entry)

    @get("/{registry:path}")
    async def record(
        self,
        registry: FromPath[str],
        vault: NamedDependency[Vault],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        org: FromQuery[str | None] = None,
    ) -> StoredCredential:
        """A credential, without its password."""
        owner, path = owner_for(actor, user, org), path_of(registry)
        if (entry := (await vault.list(owner)).get(path)) is None:
            raise NotFound(f"no credential is stored for {path}")
        return answer_of(owner, path, entry)

    @delete("/{registry:path}", status_code=204)
    async def remove(
        self,
        registry: FromPath[str],
        vault: NamedDependency[Vault],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        org: FromQuery[str | None] = None,
    ) -> None:
        await vault.delete(actor, owner_for(actor, user, org), path_of(registry))


async def credentials_of(vault: Vault, actor: Actor, user: str | None, org: str | None) -> tuple[StoredCredential, ...]:
    """The credentials of an owner; by default those of the user *actor* and of the user's organisation."""
    owners = [owner_for(actor, user, org)]
    if actor.identity and actor.identity.organisation and not user and not org:
        owners.append(organisation_owner(actor.identity.organisation))
    return tuple(
        [answer_of(owner, path, entry) for owner in owners for path, entry in sorted((await vault.list(owner)).items())]
    )


async def check_accepted(
    request: HttpRequest, path: str, body: StoreRequest, inspector: Inspector, callers: Callers
) -> None:
    """Check that the registry of *path* accepts the credential in *body*.

    Raises:
        BadRequest: it does not, or *body* is not valid.
        TooManyRequests: too many were refused.
    """
    if not (0 < len(body.user_name) <= MAX_USER_NAME and 0 < len(body.password) <= MAX_PASSWORD):
        raise BadRequest("userName needs 1 to 500 characters, and password 1 to 16384")
    if ":" in body.user_name:  # also not the name of a role of AWS, which the operator's keys would assume
        raise BadRequest("a userName with a colon cannot be used")
    shown = CredentialsRequest(registry=path, user_name=body.user_name, password=body.password)
    client = Caller(ANONYMOUS, callers.address(request.scope))
    if not await validated(client, shown, inspector, callers):
        raise BadRequest(f"the registry of {path} does not accept the user name and the password, or is unavailable")


def answer_of(owner: str, path: str, entry: Entry) -> StoredCredential:
    user, organisation = parts_of(owner)
    return StoredCredential(
        registry=path,
        user_name=entry.user_name,
        stored=entry.stored,
        stored_by=entry.stored_by,
        build_secret=entry.is_build_secret,
        user=user,
        organisation=organisation,
    )
