"""The identity of a user of a Seqera Platform, from the access token in a request."""

import re
import time
from collections.abc import Callable

from cachetools import TTLCache
from msgspec.structs import replace

from gateway.domain.access.identity import Identity
from gateway.domain.platform import Login, Platform, Platforms
from gateway.platform.client import PlatformClient, User
from gateway.platform.sessions import Sessions, hash_of
from gateway.platform.workspaces import Workspace, Workspaces
from swell.concurrency.single_flight import SingleFlight
from swell.errors import EndpointUnpaired

KNOWN_SECONDS = 30.0
"""How long an identity is used without another question: a revoked token works no longer than that."""
MOST = 10_000
OWN_KEY = "swell_"
"""API keys of this server begin with it; they are never sent to a Platform."""

_USER_NAME = re.compile(r"(?!id-)[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # `id-…` is for users with other names


class PlatformIdentities:
    """Identities by login; the Platform is asked again after 30 s."""

    def __init__(
        self,
        platforms: Platforms,
        client: PlatformClient,
        sessions: Sessions,
        workspaces: Workspaces,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._platforms = platforms
        self._client = client
        self._sessions = sessions
        self._workspaces = workspaces
        self._known: TTLCache[str, Identity] = TTLCache(MOST, KNOWN_SECONDS, now)
        self._asking: SingleFlight[str, Identity] = SingleFlight()

    def accepts(self, login: Login) -> bool:
        """Whether the token of *login* may be one of a Platform that the operator has named. No I/O."""
        is_other = login.token is None or login.token.startswith(OWN_KEY)
        return not is_other and self._platforms.find(login.endpoint) is not None

    async def identify(self, login: Login) -> Identity:
        """Return the identity of *login*, with the credentials of its workspace as its principal.

        Raises:
            EndpointUnpaired: the operator has not named the endpoint, or its Platform was never paired.
            PlatformDenied, SessionExpired, PlatformNotFound: the Platform refuses the tokens.
            PlatformFailed, Unavailable: it does not answer.
        """
        key = hash_of(repr((login.token, login.endpoint, login.refresh_token, login.workspace_id, login.workflow_id)))
        if identity := self._known.get(key):
            return identity
        identity = await self._asking.run(key, lambda: self._ask(login))
        self._known[key] = identity
        return identity

    async def _ask(self, login: Login) -> Identity:
        platform = self._platforms.find(login.endpoint)
        if platform is None:
            raise EndpointUnpaired
        name, session = await self._sessions.of(platform, login)
        user, session = await self._client.user(platform, name, session)
        await self._sessions.remember(name, session)
        workspace = Workspace(
            endpoint=platform.endpoint,
            user_id=str(user.id),
            workspace_id=login.workspace_id,
            workflow_id=login.workflow_id or None,
            session=name,
        )
        await self._workspaces.put(workspace)
        identity = _identity(platform, user)
        run = workspace.id if workspace.workflow_id else ""
        return replace(identity, pulls_as=workspace.principal, pushes_as=workspace.principal, run=run)


def _identity(platform: Platform, user: User) -> Identity:
    """The identity of *user*. Its name contains the host: users of two Platforms, or a key's, may have equal names."""
    name = user.user_name if _USER_NAME.fullmatch(user.user_name) else f"id-{user.id}"
    return Identity(
        user=f"platform:{name}@{platform.authority}",
        email=(user.email or "")[:254],
        organisation=platform.organisation,
        notification=(user.wave_build_notification or "")[:20],
    )
