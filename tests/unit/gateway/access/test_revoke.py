"""Taking a token away: it is gone, whether or not everybody could be told."""

import pytest

from gateway.access.revoke import Revocations
from swell.errors import NotFound, Unavailable
from tests.unit.gateway.conftest import MemoryGrants
from tests.unit.gateway.pull.test_pull import TOKEN, granted


class News:
    """What was told; nobody can be told anything while it is away."""

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


async def test_a_revocation_is_told(grants: MemoryGrants, news: News) -> None:
    await grants.put(granted())

    await Revocations(grants, news).revoke(TOKEN)

    assert (await grants.get(TOKEN), news.told) == (None, [TOKEN])


async def test_a_revocation_that_cannot_be_told_is_done(grants: MemoryGrants, news: News) -> None:
    """The others find out by themselves; told of a failure one would try again, and hear that there is no token."""
    await grants.put(granted())
    news.away = True

    await Revocations(grants, news).revoke(TOKEN)

    assert await grants.get(TOKEN) is None


async def test_what_opened_nothing_is_told_all_the_same(grants: MemoryGrants, news: News) -> None:
    """Somebody else may have been interrupted between taking it away and telling."""
    with pytest.raises(NotFound):
        await Revocations(grants, news).revoke(TOKEN)

    assert news.told == [TOKEN]
