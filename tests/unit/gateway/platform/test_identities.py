"""Who a user of a Platform is: the question, its cache, and the renewal of expired tokens."""

import pytest

from gateway.domain.platform import Login, Platform, Platforms
from gateway.platform.client import PlatformClient
from gateway.platform.identities import KNOWN_SECONDS, PlatformIdentities
from gateway.platform.sessions import Session, Sessions
from gateway.platform.wire import PlatformAnswer, PlatformRequest
from gateway.platform.workspaces import Workspaces, workspaces_of
from swell.errors import PlatformDenied, PlatformFailed, PlatformUnreachable, SessionExpired
from tests.platform.state import PlatformState
from tests.unit.gateway.platform.doubles import ENDPOINT, PLATFORM, MemoryRecords, MemoryTransport, no_lock

PLATFORMS = Platforms([PLATFORM])
LOGIN = Login(token="old", endpoint=ENDPOINT, refresh_token="refresh-1")


class Site:
    """Alice has the token `old`, which `refresh-1` renews."""

    def __init__(self) -> None:
        self.now = 0.0
        self.records = MemoryRecords()
        self.state = PlatformState()
        self.state.knowledge.users = {"alice": {"id": 1, "userName": "alice", "email": "alice@example.org"}}
        self.state.knowledge.tokens = {"old": "alice"}
        self.state.knowledge.refresh_tokens = {"refresh-1": "alice"}
        self.identities = self.gateway()

    def gateway(self) -> PlatformIdentities:
        """Another gateway, with the same store."""
        sessions = Sessions(self.records, no_lock)
        client = PlatformClient(MemoryTransport(self.state), sessions)
        workspaces = Workspaces(self.records, PLATFORMS, sessions)
        return PlatformIdentities(PLATFORMS, client, sessions, workspaces, lambda: self.now)

    @property
    def refreshes(self) -> int:
        return sum(each.method == "POST" for each in self.state.seen)


@pytest.fixture
def site() -> Site:
    return Site()


async def test_a_user_is_named_after_the_platform_too(site: Site) -> None:
    """Users of two Platforms, and of an API key, may have the same name."""
    identity = await site.identities.identify(LOGIN)

    assert identity.user == "platform:alice@platform.example.org"
    assert identity.email == "alice@example.org"
    assert identity.pulls_as == identity.pushes_as != "public"


async def test_a_revoked_token_stops_working_within_a_minute(site: Site) -> None:
    """Until then the answer is cached, so that the Platform is not asked for each request."""
    login = Login(token="old", endpoint=ENDPOINT)
    await site.identities.identify(login)
    site.state.knowledge.tokens.clear()

    await site.identities.identify(login)
    assert len(site.state.seen) == 1
    site.now = KNOWN_SECONDS + 1
    assert KNOWN_SECONDS < 60
    with pytest.raises(PlatformDenied):
        await site.identities.identify(login)


@pytest.mark.row("I12")
async def test_an_expired_token_is_renewed_once(site: Site) -> None:
    """The Platform answers 401, then gives a new pair of tokens, which the next questions use."""
    site.state.knowledge.tokens.clear()

    assert (await site.identities.identify(LOGIN)).user.startswith("platform:alice")
    assert [each.url for each in site.state.seen] == ["/user-info", "/oauth/access_token", "/user-info"]
    site.now += 100
    await site.identities.identify(LOGIN)
    await site.gateway().identify(LOGIN)
    assert site.refreshes == 1
    assert site.state.seen[-1].token.startswith("jwt-")


async def test_the_old_token_alone_opens_nothing_after_the_renewal(site: Site) -> None:
    """An expired token may be known to others; the stored session is for clients with a refresh token of it."""
    site.state.knowledge.tokens.clear()
    await site.identities.identify(LOGIN)

    for refresh_token in (None, "refresh-of-another"):
        with pytest.raises((PlatformDenied, SessionExpired)):
            await site.gateway().identify(Login(token="old", endpoint=ENDPOINT, refresh_token=refresh_token))


async def test_a_session_that_cannot_be_renewed_is_412(site: Site) -> None:
    """The refresh token is unknown, or the answer has no token."""
    site.state.knowledge.tokens.clear()
    with pytest.raises(SessionExpired):
        await site.identities.identify(Login(token="old", endpoint=ENDPOINT, refresh_token="unknown"))

    site.state.knowledge.gives_token = False
    with pytest.raises(SessionExpired):
        await site.identities.identify(LOGIN)


async def test_without_a_refresh_token_there_is_no_renewal(site: Site) -> None:
    """One question, and 401."""
    site.state.knowledge.tokens.clear()

    with pytest.raises(PlatformDenied):
        await site.identities.identify(Login(token="old", endpoint=ENDPOINT))
    assert site.refreshes == 0


@pytest.mark.parametrize(
    ("status", "error"), [(500, PlatformUnreachable), (429, PlatformUnreachable), (302, PlatformFailed)]
)
async def test_failures_of_the_platform_are_not_those_of_the_client(
    site: Site, status: int, error: type[Exception]
) -> None:
    """The client may try again; the token is not refused."""
    site.state.knowledge.status = status

    with pytest.raises(error):
        await site.identities.identify(LOGIN)


@pytest.mark.parametrize("token", ["", "a b", "a\r\nX: y", "é", "x" * 10_000])
async def test_a_token_that_is_none_is_sent_nowhere(site: Site, token: str) -> None:
    """It would become a header."""
    with pytest.raises(PlatformDenied):
        await site.identities.identify(Login(token=token, endpoint=ENDPOINT))
    assert not site.state.seen


async def test_equal_rights_have_equal_principals(site: Site) -> None:
    """Two tokens of a user share caches; another workspace, run or user does not."""
    site.state.knowledge.users["bob"] = {"id": 2, "userName": "bob"}
    site.state.knowledge.tokens |= {"second": "alice", "bobs": "bob"}
    logins = [
        Login(token="old", endpoint=ENDPOINT, workspace_id=1),
        Login(token="second", endpoint=ENDPOINT, workspace_id=1),
        Login(token="old", endpoint=ENDPOINT, workspace_id=2),
        Login(token="old", endpoint=ENDPOINT, workspace_id=1, workflow_id="w"),
        Login(token="bobs", endpoint=ENDPOINT, workspace_id=1),
    ]

    principals = [(await site.identities.identify(each)).pulls_as for each in logins]

    assert principals[0] == principals[1]
    assert len(set(principals)) == 4
    assert all(len(workspaces_of(each)) == 1 for each in principals)


async def test_the_store_has_no_name_that_reveals_a_token(site: Site) -> None:
    """Values are encrypted, names are not."""
    await site.identities.identify(LOGIN)

    assert not any(secret in name for name in site.records.stored for secret in ("old", "refresh-1"))


async def test_no_name_is_that_of_another_user(site: Site) -> None:
    """A user whose name cannot be shown is named after the id; another one may have chosen that text as name."""
    site.state.knowledge.users = {
        "odd": {"id": 7, "userName": "odd name"},
        "thief": {"id": 8, "userName": "id-7"},
    }
    site.state.knowledge.tokens = {"old": "odd", "second": "thief"}

    odd, thief = [
        (await site.identities.identify(Login(token=token, endpoint=ENDPOINT))).user for token in ("old", "second")
    ]
    assert odd == "platform:id-7@platform.example.org"
    assert thief == "platform:id-8@platform.example.org"


@pytest.mark.parametrize("user_id", ["", "1\n", "a@b", "x" * 65])
async def test_an_id_has_the_form_of_one(site: Site, user_id: str) -> None:
    """It becomes part of the name of the user, of keys in the store, and of the log."""
    site.state.knowledge.users = {"alice": {"id": user_id, "userName": "not a name"}}

    with pytest.raises(PlatformFailed):
        await site.identities.identify(LOGIN)


async def test_a_deeply_nested_answer_is_a_failure_of_the_platform(site: Site) -> None:
    """Not one of this server."""
    client = PlatformClient(Nested(), Sessions(site.records, no_lock))

    with pytest.raises(PlatformFailed):
        await client.user(PLATFORM, "name", Session(endpoint=ENDPOINT, token="t"))


class Nested:
    """A Platform whose answer has 100,000 levels."""

    async def send(self, platform: Platform, request: PlatformRequest) -> PlatformAnswer:
        return PlatformAnswer(status=200, body='{"later":' + "[" * 100_000 + "]" * 100_000 + "}")
