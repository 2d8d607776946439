"""Whether registries take a user's name and password, asked as `docker login` does.

Source: distribution-spec's token authentication; RFC 9110, section 11.
"""

import asyncio

import aiohttp
from yarl import URL

from swell.errors import Denied, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.net.outbound import follow
from swell.registry.address import endpoint
from swell.registry.auth import check_realm
from swell.registry.aws import AwsLogins
from swell.registry.challenge import choose, parse_challenges
from swell.registry.credentials import Credentials

PATIENCE = 15  # seconds


class Logins:
    def __init__(
        self, session: aiohttp.ClientSession, insecure: frozenset[str] = frozenset(), aws: AwsLogins | None = None
    ) -> None:
        """Registries in *insecure*, and those on this machine, are spoken to by plain http. *aws* must have no keys of
        its own: a role would be assumed on a user's word."""
        self._session = session
        self._aws = aws
        self._insecure = insecure

    async def accepts(self, registry: str, credentials: Credentials) -> bool:
        """Whether the door of *registry* opens to *credentials*, within 15 s: the realm of tokens that it names, else
        its own `/v2/`. One that does not answer, or makes no sense, accepts none.

        Raises:
            AddressForbidden: the session's policy forbids its address.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                door = await self._door(endpoint(registry, self._insecure))
                login = await self._aws.login(registry, credentials) if self._aws else credentials
                headers = {"Authorization": login.basic}
                async with await follow(self._session, "GET", door, headers) as response:
                    return response.status == 200 and response.url.origin() == door.origin()
        except (UpstreamFailed, Denied, TooManyRequests, TimeoutError) as error:
            log.info("credentials not checked", registry=registry, error=str(error))
            return False

    async def _door(self, address: URL) -> URL:
        base = address / "v2/"
        async with await follow(self._session, "GET", base, {}) as response:
            told = response.headers.getall("WWW-Authenticate", []) if response.status == 401 else []
        challenge = choose(parse_challenges(told))
        if challenge is None or challenge.scheme == "basic":
            return base
        check_realm(challenge, base)
        service = challenge.parameters.get("service")
        return URL(challenge.parameters["realm"]).extend_query({"service": service} if service else {})
