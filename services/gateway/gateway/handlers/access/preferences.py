"""`/v1alpha2/preferences`: when a user gets e-mail."""

from typing import Protocol, runtime_checkable

from litestar import Controller, get, put
from litestar.di import NamedDependency
from litestar.params import FromQuery

from gateway.access.keys import Actor
from gateway.access.vault import owner_for
from gateway.domain.access.vault import parts_of
from gateway.domain.notices import Preference
from gateway.http.bodies import HttpRequest, read
from gateway.notices.queue import Preferences as Known
from swell.api.preferences import Preferences


@runtime_checkable
class StoredPreferences(Known, Protocol):
    async def put(self, user: str, preference: Preference | None) -> None:
        """Store *preference*, or delete it."""


class PreferencesController(Controller):
    path = "/v1alpha2/preferences"

    @get()
    async def show(
        self,
        stored_preferences: NamedDependency[StoredPreferences],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
    ) -> Preferences:
        name, _ = parts_of(owner_for(actor, user, None))
        preference = (await stored_preferences.of([name])).get(name)
        return Preferences(email=preference.value if preference else None)

    @put(status_code=200, request_max_body_size=None)  # `read` limits the size
    async def store(
        self,
        request: HttpRequest,
        stored_preferences: NamedDependency[StoredPreferences],
        actor: NamedDependency[Actor],
        user: FromQuery[str | None] = None,
    ) -> Preferences:
        """Replace the preferences."""
        name, _ = parts_of(owner_for(actor, user, None))
        body = await read(request, Preferences)
        await stored_preferences.put(name, Preference(body.email) if body.email else None)
        return body
