"""What the registry-proxy hears of others."""

from cachetools import TTLCache

from registry_proxy.domain.link import LIFE, mark_of
from registry_proxy.pull import Pulls
from swell.jobs.messages import TokenRevoked


class RevokedLinks:
    """The marks of links whose tokens were taken away, as long as such links may live; *key* is the links'."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._marks: TTLCache[str, None] = TTLCache(100_000, ttl=LIFE)

    def heard(self, news: TokenRevoked) -> None:
        """Every replica hears it, for each may be asked."""
        self._marks[mark_of(news.id, self._key)] = None

    def __contains__(self, mark: object) -> bool:
        return mark in self._marks


class RevokedTokens:
    """Tokens that were taken away: what was kept for them goes. This news waits for who was away, and may come late."""

    def __init__(self, pulls: Pulls, links: RevokedLinks) -> None:
        self._pulls = pulls
        self._links = links

    async def take(self, news: TokenRevoked, _attempt: int) -> None:
        self._links.heard(news)
        await self._pulls.forget(news.id)
