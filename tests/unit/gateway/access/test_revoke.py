"""Revocations: the token is invalid, even if the event cannot be published."""

import pytest

from gateway.access.revoke import Revocations
from swell.errors import NotFound, Unavailable
from tests.unit.gateway.doubles import MemoryGrants
from tests.unit.gateway.pull.test_pull import TOKEN, granted


class RecordedEvents:
    """The published events; publishing fails while `unavailable` is set."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.unavailable = False

    async def revoked(self, token: str) -> None:
        if self.unavailable:
            raise Unavailable
        self.published.append(token)


@pytest.fixture
def events() -> RecordedEvents:
    return RecordedEvents()


async def test_a_revocation_is_published(grants: MemoryGrants, events: RecordedEvents) -> None:
    """The other gateways evict the grant from their caches."""
    await grants.put(granted())

    await Revocations(grants, events).revoke(TOKEN)

    assert (await grants.get(TOKEN), events.published) == (None, [TOKEN])


async def test_a_revocation_that_cannot_be_published_succeeds(grants: MemoryGrants, events: RecordedEvents) -> None:
    """Other gateways notice it later. An error would make clients retry, and the retry would get 404."""
    await grants.put(granted())
    events.unavailable = True

    await Revocations(grants, events).revoke(TOKEN)

    assert await grants.get(TOKEN) is None


async def test_an_unknown_token_is_published_too(grants: MemoryGrants, events: RecordedEvents) -> None:
    """A gateway may have crashed between deleting the grant and publishing the event."""
    with pytest.raises(NotFound):
        await Revocations(grants, events).revoke(TOKEN)

    assert events.published == [TOKEN]
