"""Events that the registry-proxy subscribes to."""

from cachetools import TTLCache

from registry_proxy.domain.link import LIFE, mark_of
from registry_proxy.pull import Pulls
from swell.jobs.messages import TokenRevoked


class RevokedLinks:
    """The marks of revoked tokens, stored as long as their links are valid; *key* signs the links."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._marks: TTLCache[str, None] = TTLCache(100_000, ttl=LIFE)

    def add(self, event: TokenRevoked) -> None:
        """Revoke the links of a token; every replica receives the event."""
        self._marks[mark_of(event.id, self._key)] = None

    def __contains__(self, mark: object) -> bool:
        return mark in self._marks


class RevokedTokens:
    """Removes the documents of revoked tokens. One replica handles each event from the queue, possibly late."""

    def __init__(self, pulls: Pulls, links: RevokedLinks) -> None:
        self._pulls = pulls
        self._links = links

    async def handle(self, event: TokenRevoked, _attempt: int) -> None:
        self._links.add(event)
        await self._pulls.remove(event.id)
