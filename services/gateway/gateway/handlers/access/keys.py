"""`/v1alpha2/keys`: API keys, for operators and for users who have signed in."""

from litestar import Controller, delete, get, patch, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec.structs import asdict

from gateway.access.keys import Actor, KeyIssuer
from gateway.domain.access.api_key import IssuedKey
from gateway.http.bodies import HttpRequest, read
from swell.api.keys import IssuedKeyAnswer, KeyChange, KeyPage, KeyRecord, KeyRequest


class KeysController(Controller):
    path = "/v1alpha2/keys"

    @post(status_code=201, request_max_body_size=None)  # `read` limits the size
    async def issue(
        self,
        request: HttpRequest,
        key_issuer: NamedDependency[KeyIssuer],
        actor: NamedDependency[Actor],
    ) -> IssuedKeyAnswer:
        key, text = await key_issuer.issue(actor, await read(request, KeyRequest))
        return IssuedKeyAnswer(**asdict(record_of(key)), key=text)

    @get()
    async def list(
        self,
        key_issuer: NamedDependency[KeyIssuer],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        cursor: FromQuery[str | None] = None,
        limit: FromQuery[int | None] = None,
    ) -> KeyPage:
        keys, following = await key_issuer.list(actor, user, cursor, limit)
        return KeyPage(keys=tuple(map(record_of, keys)), next=following)

    @get("/{key_id:str}")
    async def record(
        self,
        key_id: FromPath[str],
        key_issuer: NamedDependency[KeyIssuer],
        actor: NamedDependency[Actor],
    ) -> KeyRecord:
        return record_of(await key_issuer.get(actor, key_id))

    @patch("/{key_id:str}", request_max_body_size=None)
    async def change(
        self,
        request: HttpRequest,
        key_id: FromPath[str],
        key_issuer: NamedDependency[KeyIssuer],
        actor: NamedDependency[Actor],
    ) -> KeyRecord:
        return record_of(await key_issuer.change(actor, key_id, await read(request, KeyChange)))

    @delete("/{key_id:str}", status_code=200)
    async def revoke(
        self,
        key_id: FromPath[str],
        key_issuer: NamedDependency[KeyIssuer],
        actor: NamedDependency[Actor],
    ) -> KeyRecord:
        return record_of(await key_issuer.revoke(actor, key_id))


def record_of(key: IssuedKey) -> KeyRecord:
    return KeyRecord(**asdict(key) | {"scopes": tuple(sorted(scope.value for scope in key.scopes))})
