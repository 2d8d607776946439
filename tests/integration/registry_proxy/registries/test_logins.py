"""Credential checks: at a real registry with HTTP Basic, and at scripted ones."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from registry_proxy.adapters import logins as module
from registry_proxy.adapters.logins import Logins
from swell.errors import AddressForbidden
from swell.net.outbound import Policy, open_session
from swell.registry.credentials.keyring import Credentials
from swell_embedded.ports import Ports
from tests.integration.registry_proxy.support import Answer, Registry, Script, broken_off, said

RIGHT = Credentials("größe", "pass:word")
WRONG = Credentials("größe", "guess")


def basic(request: web.Request) -> web.StreamResponse:
    """Opens to the right credentials."""
    right = request.headers.get("Authorization") == RIGHT.basic
    return web.Response(status=200 if right else 401, headers={"WWW-Authenticate": 'Basic realm="a, b"'})


def challenged(script: Script, by: str = 'Bearer service="a reg",realm="{url}/token?x=1"') -> Answer:
    return said(401, WWW_Authenticate=by.format(url=script.url))


@pytest.fixture
def logins(session: aiohttp.ClientSession) -> Logins:
    return Logins(session)


async def test_a_real_registry_accepts_and_refuses(logins: Logins, registry: Registry) -> None:
    """The check works against Docker's registry with HTTP Basic."""
    assert await logins.accepts(registry.authority, Credentials(registry.user, registry.password))
    assert not await logins.accepts(registry.authority, Credentials(registry.user, "guess"))
    assert not await logins.accepts(registry.authority, Credentials("unknown", registry.password))


@pytest.mark.parametrize("credentials", [RIGHT, WRONG])
async def test_a_realm_of_tokens_is_asked_instead_of_the_registry(
    logins: Logins, script: Script, other: Script, credentials: Credentials
) -> None:
    """The registry itself never sees the password; the realm's own query stays."""
    script.on("/v2/", challenged(other))
    other.on("/token", basic)

    assert await logins.accepts(script.authority, credentials) is (credentials is RIGHT)
    assert script.asked("/v2/") == [None]
    ((_, url, shown),) = other.seen
    assert (dict(url.query), shown) == ({"x": "1", "service": "a reg"}, credentials.basic)


async def test_an_open_registry_is_asked_all_the_same(logins: Logins, script: Script) -> None:
    """It answers 200 to all clients, so also to these credentials; `docker login` does the same."""
    script.on("/v2/", said())

    assert await logins.accepts(script.authority, WRONG)
    assert script.asked("/v2/") == [None, WRONG.basic]


@pytest.mark.parametrize("status", [400, 403, 404, 429, 500, 503])
async def test_other_statuses_mean_refused(logins: Logins, script: Script, status: int) -> None:
    """Only 200 means that the credentials are valid."""
    script.on("/v2/", said(status))

    assert await logins.accepts(script.authority, RIGHT) is False


async def test_a_page_somewhere_else_is_no_yes(logins: Logins, script: Script, other: Script) -> None:
    """The password does not follow a redirect to another place, so what that place says proves nothing."""
    script.on("/v2/", said(302, Location=f"{other.url}/welcome"))
    other.on("/welcome", said())

    assert await logins.accepts(script.authority, RIGHT) is False
    assert other.asked("/welcome") == [None, None]


@pytest.mark.parametrize("realm", ["ftp://127.0.0.1/token", "//", "http://ann@127.0.0.1/token"])
async def test_a_realm_that_makes_no_sense_gets_no_password(logins: Logins, script: Script, realm: str) -> None:
    """The realm comes from a host that a user names."""
    script.on("/v2/", challenged(script, f'Bearer realm="{realm}"'))

    assert await logins.accepts(script.authority, RIGHT) is False
    assert len(script.seen) == 1


async def test_an_unreachable_registry_accepts_no_credentials(logins: Logins, script: Script) -> None:
    """An unreachable registry accepts no credentials."""
    script.on("/v2/", broken_off(b"", 3))

    assert await logins.accepts(f"127.0.0.1:{Ports.free().registry}", RIGHT) is False
    assert await logins.accepts("registry.invalid", RIGHT) is False


async def test_a_silent_registry_times_out(logins: Logins, script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check has a timeout, because a user waits for it."""
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    done = asyncio.Event()

    async def silent(_: web.Request) -> web.StreamResponse:
        await done.wait()
        return web.Response()

    script.on("/v2/", silent)

    assert await logins.accepts(script.authority, RIGHT) is False
    done.set()


async def test_a_forbidden_address_gives_its_own_error(script: Script, other: Script) -> None:
    """For the registry's address and its realm's: the user learns that no check was made."""
    async with open_session(Policy()) as guarded:
        with pytest.raises(AddressForbidden):
            await Logins(guarded).accepts(script.authority, RIGHT)
    async with open_session(Policy(frozenset({script.authority}))) as half:
        script.on("/v2/", challenged(other))
        with pytest.raises(AddressForbidden):
            await Logins(half).accepts(script.authority, RIGHT)

    assert other.seen == []


async def test_the_password_is_in_no_log(logins: Logins, script: Script) -> None:
    """Logs are read by people who must not have users' passwords."""
    script.on("/v2/", said(503), broken_off(b"", 3))

    with capture_logs() as logs:
        await logins.accepts(script.authority, RIGHT)
        await logins.accepts(f"127.0.0.1:{Ports.free().registry}", RIGHT)

    assert logs
    assert RIGHT.password not in str(logs)
    assert RIGHT.basic not in str(logs)
