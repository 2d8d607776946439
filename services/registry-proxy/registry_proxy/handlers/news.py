"""What the registry-proxy hears of others."""

from registry_proxy.pull import Pulls
from swell.jobs.messages import TokenRevoked


class RevokedTokens:
    """Tokens that were taken away: what was kept for them goes."""

    def __init__(self, pulls: Pulls) -> None:
        self._pulls = pulls

    async def take(self, news: TokenRevoked, _attempt: int) -> None:
        await self._pulls.forget(news.id)
