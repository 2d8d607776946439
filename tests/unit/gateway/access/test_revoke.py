"""Revocations: the token is invalid, even if the event cannot be published."""

import pytest

from gateway.access.revoke import Revocations
from swell.errors import NotFound, Unavailable
from tests.unit.gateway.conftest import MemoryGrants
from tests.unit.gateway.pull.test_pull import TOKEN, granted


class News:
    """The published events; publishing fails while `away` is set."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.away = False

    async def revoked(self, token: str) -> None:
        if self.away:
            raise Unavailable
        self.told.append(token)


@pytest.fixture
def news() -> News:
    return News()


async def test_a_revocation_is_published(grants: MemoryGrants, news: News) -> None:
    """The other gateways evict the grant from their caches."""
    await grants.put(granted())

    await Revocations(grants, news).revoke(TOKEN)

    assert (await grants.get(TOKEN), news.told) == (None, [TOKEN])


async def test_a_revocation_that_cannot_be_published_succeeds(grants: MemoryGrants, news: News) -> None:
    """Other gateways notice it later. An error would make clients retry, and the retry would get 404."""
    await grants.put(granted())
    news.away = True

    await Revocations(grants, news).revoke(TOKEN)

    assert await grants.get(TOKEN) is None


async def test_an_unknown_token_is_published_too(grants: MemoryGrants, news: News) -> None:
    """A gateway may have crashed between deleting the grant and publishing the event."""
    with pytest.raises(NotFound):
        await Revocations(grants, news).revoke(TOKEN)

    assert news.told == [TOKEN]
