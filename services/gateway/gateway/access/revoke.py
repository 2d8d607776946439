"""Taking a token away before its time."""

from typing import Protocol

from swell.errors import NotFound, Unavailable
from swell.log import log


class Grants(Protocol):
    async def revoke(self, token: str) -> bool:
        """Take the grant away; answers whether there was one."""


class News(Protocol):
    async def revoked(self, token: str) -> None:
        """Tell every gateway to forget *token*."""


class Revocations:
    def __init__(self, grants: Grants, news: News) -> None:
        self._grants = grants
        self._news = news

    async def revoke(self, token: str) -> None:
        """Let *token* open nothing from now on; every gateway knows within a second.

        While the news cannot be told they find out by themselves, within some seconds: that is no failure.

        Raises:
            NotFound: it opened nothing.
        """
        was_there = await self._grants.revoke(token)
        try:
            await self._news.revoked(token)
        except Unavailable as error:
            log.warning("a revocation could not be told", error=str(error))
        if not was_there:
            raise NotFound(f"no record for token {token}")
