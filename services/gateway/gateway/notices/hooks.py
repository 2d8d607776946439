"""The webhooks for an end: those in the operator's file, and those of the users and organisations that follow it."""

from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Protocol

from gateway.access.webhooks import OwnWebhook
from gateway.domain.access.vault import organisation_owner, user_owner
from gateway.domain.notices import End, Follower, Webhook


class Stored(Protocol):
    async def of(self, owner: str) -> Mapping[str, OwnWebhook]: ...

    async def find(self, owner: str, name: str) -> Webhook | None: ...


class Hooks:
    """*operators* are the webhooks in the operator's file; their owner is the empty text."""

    def __init__(self, operators: Mapping[str, Webhook], stored: Stored | None) -> None:
        self._operators = operators
        self._stored = stored

    async def of(self, end: End, followers: Iterable[Follower]) -> AsyncIterator[tuple[str, str]]:
        """The owners and names of the webhooks that get *end*, which has these *followers*; none without followers."""
        known = list(followers)
        organisations = {follower.organisation for follower in known}
        for webhook in self._operators.values() if known else ():
            if end.kind in webhook.events and (not webhook.organisation or webhook.organisation in organisations):
                yield "", webhook.name
        if self._stored is None:
            return
        owners = {user_owner(follower.user) for follower in known if follower.user}
        for owner in sorted(owners | {organisation_owner(each) for each in organisations if each}):
            for name, own in sorted((await self._stored.of(owner)).items()):
                if end.kind in own.events:
                    yield owner, name

    async def find(self, owner: str, name: str) -> Webhook | None:
        """Return a webhook with its secret; None if it was removed."""
        if not owner:
            return self._operators.get(name)
        return await self._stored.find(owner, name) if self._stored else None
