"""`/v1alpha2/webhooks`: addresses of users and organisations that get notices."""

from litestar import Controller, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from msgspec.structs import asdict

from gateway.access.keys import Actor
from gateway.access.vault import owner_for
from gateway.access.webhooks import OwnWebhook, WebhookStore
from gateway.domain.access.vault import parts_of
from gateway.http.bodies import HttpRequest, read
from swell.api.webhooks import StoredWebhookAnswer, WebhookList, WebhookRecord, WebhookRequest

_NOT_STORED = {"Cache-Control": "no-store"}


class WebhooksController(Controller):
    path = "/v1alpha2/webhooks"

    @get()
    async def list(
        self,
        webhook_store: NamedDependency[WebhookStore],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        org: FromQuery[str | None] = None,
    ) -> WebhookList:
        owner = owner_for(actor, user, org)
        stored = await webhook_store.list(owner)
        return WebhookList(webhooks=tuple(record_of(owner, name, each) for name, each in sorted(stored.items())))

    @put("/{name:str}", status_code=200, request_max_body_size=None)  # `read` limits the size
    async def store(
        self,
        request: HttpRequest,
        name: FromPath[str],
        webhook_store: NamedDependency[WebhookStore],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        org: FromQuery[str | None] = None,
    ) -> Response[StoredWebhookAnswer]:
        """Store a webhook; the answer has its secret."""
        owner, body = owner_for(actor, user, org), await read(request, WebhookRequest)
        webhook, secret = await webhook_store.put(actor, owner, name, body.url, body.events)
        answer = StoredWebhookAnswer(**asdict(record_of(owner, name, webhook)), secret=secret)
        return Response(answer, headers=_NOT_STORED)

    @delete("/{name:str}", status_code=204)
    async def remove(
        self,
        name: FromPath[str],
        webhook_store: NamedDependency[WebhookStore],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
        org: FromQuery[str | None] = None,
    ) -> None:
        await webhook_store.delete(actor, owner_for(actor, user, org), name)


def record_of(owner: str, name: str, webhook: OwnWebhook) -> WebhookRecord:
    user, organisation = parts_of(owner)
    return WebhookRecord(
        name=name,
        url=webhook.url,
        events=webhook.events,
        stored=webhook.stored,
        stored_by=webhook.stored_by,
        user=user,
        organisation=organisation,
    )
