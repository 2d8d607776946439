"""Publish events about builds and tokens to the other services, over NATS JetStream."""

from swell.errors import Unavailable
from swell.jobs.messages import BuildCancelled, BuildDone, KeyChanged, Message, TokenRevoked, VaultChanged
from swell.jobs.publish import publish
from swell.jobs.streams import Nats
from swell.log import log, new_id


class RevocationEvents:
    """Publishes revoked tokens, and changed API keys, to every gateway."""

    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def revoked(self, token: str) -> None:
        """Publish that *token* was revoked.

        Raises:
            Unavailable: JetStream does not store the event.
        """
        await publish(self._nats.stream, TokenRevoked(id=token))

    async def key_changed(self, key_id: str, *, revoked: bool) -> None:
        """Publish that the API key *key_id* is *revoked*, or has other limits.

        Raises:
            Unavailable: JetStream does not store the event.
        """
        await publish(self._nats.stream, KeyChanged(id=new_id(), key_id=key_id, revoked=revoked))

    async def vault_changed(self, owner: str) -> None:
        """Publish that the stored credentials of *owner* have changed.

        Raises:
            Unavailable: JetStream does not store the event.
        """
        await publish(self._nats.stream, VaultChanged(id=new_id(), owner=owner))


class BuildEvents:
    """Publishes cancelled and ended builds.

    The state is in Redis before an event is published: waiting processes poll it, so a lost event only delays them.
    """

    def __init__(self, nats: Nats) -> None:
        self._nats = nats

    async def cancelled(self, build_id: str) -> None:
        """Publish to the builder of *build_id* that it should stop; a failure is logged."""
        await self._publish(BuildCancelled(id=build_id))

    async def ended(self, event: BuildDone) -> None:
        """Publish that a build ended; a failure is logged."""
        await self._publish(event)

    async def _publish(self, message: Message) -> None:
        try:
            await publish(self._nats.stream, message)
        except Unavailable as error:
            log.warning("build event not published", subject=message.subject, id=message.id, error=str(error))
