"""Check a user's name and password against a registry, like `docker login`.

Source: Docker registry token specification, https://distribution.github.io/distribution/spec/auth/token/
Source: RFC 9110, section 11 (HTTP authentication), https://www.rfc-editor.org/rfc/rfc9110#section-11
"""

import asyncio

import aiohttp
from yarl import URL

from swell.errors import Denied, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.net.outbound import follow
from swell.registry.address import endpoint
from swell.registry.auth import check_realm
from swell.registry.challenge import choose, parse_challenges
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Credentials

TIMEOUT = 15  # seconds


class Logins:
    def __init__(
        self, session: aiohttp.ClientSession, insecure: frozenset[str] = frozenset(), aws: AwsLogins | None = None
    ) -> None:
        """Use plain HTTP for registries in *insecure* and on loopback.

        *aws* must have no keys of its own: otherwise a user's input could make the service assume a role.
        """
        self._session = session
        self._aws = aws
        self._insecure = insecure

    async def accepts(self, registry: str, credentials: Credentials) -> bool:
        """Return whether *registry* accepts *credentials*, within 15 s.

        The request goes to the registry's token realm, or to `/v2/` if it names none. False if the registry does not
        respond or its response is invalid.

        Raises:
            AddressForbidden: the session's policy forbids its address.
        """
        try:
            async with asyncio.timeout(TIMEOUT):
                login_url = await self._login_url(endpoint(registry, self._insecure))
                login = await self._aws.login(registry, credentials) if self._aws else credentials
                headers = {"Authorization": login.basic}
                async with await follow(self._session, "GET", login_url, headers) as response:
                    return response.status == 200 and response.url.origin() == login_url.origin()
        except (UpstreamFailed, Denied, TooManyRequests, TimeoutError) as error:
            log.info("credentials not checked", registry=registry, error=str(error))
            return False

    async def _login_url(self, address: URL) -> URL:
        base = address / "v2/"
        async with await follow(self._session, "GET", base, {}) as response:
            challenges = response.headers.getall("WWW-Authenticate", []) if response.status == 401 else []
        challenge = choose(parse_challenges(challenges))
        if challenge is None or challenge.scheme == "basic":
            return base
        check_realm(challenge, base)
        service = challenge.parameters.get("service")
        return URL(challenge.parameters["realm"]).extend_query({"service": service} if service else {})
