"""Registry tokens: fetched rarely, and sent only to the registry that they are for."""

import asyncio
import json
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.errors import Denied, SwellError, TooManyRequests, UpstreamDown, UpstreamFailed
from swell.net.outbound import Policy, Reach, open_session, send
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry import auth
from swell.registry.circuit_breaker import CircuitBreaker
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR, Principal
from tests.integration.registry_proxy.registries.faults import raw
from tests.integration.registry_proxy.support import Answer, Script, make_image, said

PATH = "/v2/team/tool/manifests/1"

good = said(body=make_image().manifest, content_type=OCI_MANIFEST)


def tool(script: Script) -> Reference:
    return parse_reference(f"{script.authority}/team/tool:1")


def challenged(
    script: Script, by: str = 'Bearer realm="{url}/token",service="reg",scope="repository:other:push"'
) -> Answer:
    return said(401, b"go away", WWW_Authenticate=by.format(url=script.url))


def guarded(script: Script, *tokens: str) -> Answer:
    """Serves the manifest to a client with one of *tokens*."""

    def answer(request: web.Request) -> web.StreamResponse:
        shown = request.headers.get("Authorization")
        found = good if shown in {f"Bearer {token}" for token in tokens} else challenged(script)
        return found(request)  # type: ignore[return-value]

    return answer


def token(text: str, **more: object) -> Answer:
    return said(body=json.dumps({"token": text, **more}).encode())


def with_credentials(session: aiohttp.ClientSession, script: Script) -> RegistryUpstream:
    return RegistryUpstream(session, Keyring({script.authority: Credentials("me", "secret")})).acting_for(OPERATOR)


async def test_an_anonymous_token_is_fetched_once_and_used_again(script: Script, upstream: RegistryUpstream) -> None:
    """The scope is pulling from this repository, whichever scope the challenge names."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc", expires_in=300))

    for _ in range(3):
        await upstream.fetch_manifest(tool(script))

    [(_, url, authorization)] = [seen for seen in script.seen if seen[1].path == "/token"]
    assert dict(url.query) == {"service": "reg", "scope": "repository:team/tool:pull"}
    assert authorization is None
    assert script.asked(PATH) == [None, "Bearer abc", "Bearer abc", "Bearer abc"]


async def test_a_refusal_of_a_request_that_may_fail_removes_no_token(script: Script) -> None:
    """To cancel an upload, docker-registry requires an action that no token of a build has."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc"))
    script.on("/upload", challenged(script))
    async with open_session(Policy(frozenset({script.authority}))) as session:
        client = RegistryClient(session, Keyring({}))
        (await client.ask(send, "GET", tool(script), "manifests/1", {})).release()

        response = await client.ask_once(send, "DELETE", tool(script), URL(f"{script.url}/upload"))
        response.release()
        (await client.ask(send, "GET", tool(script), "manifests/1", {})).release()

    assert response.status == 401
    assert script.asked("/upload") == ["Bearer abc"] and len(script.asked("/token")) == 1
    assert script.asked(PATH) == [None, "Bearer abc", "Bearer abc"]


async def test_a_hundred_pulls_at_once_fetch_one_token(script: Script, upstream: RegistryUpstream) -> None:
    """Token services have limits, too."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc"))

    await asyncio.gather(*(upstream.fetch_manifest(tool(script)) for _ in range(100)))

    assert len(script.asked("/token")) == 1


async def test_clients_of_different_builds_share_tokens_only_with_the_same_credentials(
    script: Script, session: aiohttp.ClientSession
) -> None:
    """The second build shows the token at once. Other credentials, and another principal, fetch their own."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc", expires_in=300))
    accepted = auth.Authorizations()

    async def read(credentials: Credentials, principal: Principal = OPERATOR) -> None:
        keyring = Keyring({script.authority: credentials}, lambda *_: True)
        client = RegistryClient(session, keyring, accepted=accepted).acting_for(principal)
        (await client.ask(send, "GET", tool(script), "manifests/1", {})).release()

    ours, theirs = Credentials("me", "secret"), Credentials("you", "secret")
    for credentials in (ours, ours, theirs):
        await read(credentials)
    assert script.asked("/token") == [ours.basic, theirs.basic]
    assert script.asked(PATH) == [None, *["Bearer abc"] * 3]

    await read(ours, Principal("another"))
    assert script.asked("/token") == [ours.basic, theirs.basic, ours.basic]


async def test_credentials_go_to_the_realm_and_not_to_the_registry(
    script: Script, session: aiohttp.ClientSession
) -> None:
    """With Bearer, the registry sees the token only. Azure calls it `access_token`."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", said(body=b'{"access_token": "abc"}'))

    await with_credentials(session, script).fetch_manifest(tool(script))

    assert script.asked("/token") == [Credentials("me", "secret").basic]
    assert script.asked(PATH) == [None, "Bearer abc"]


async def test_an_identity_token_is_sent_to_the_realm_and_nowhere_else(
    script: Script, other: Script, session: aiohttp.ClientSession
) -> None:
    """It stands in the body of a request, with which no redirect is followed."""
    asked: list[dict[str, object]] = []

    async def exchange(request: web.Request) -> web.Response:
        asked.append(dict(await request.post()))
        return web.json_response({"access_token": "abc"})

    script.on(PATH, guarded(script, "abc"))
    script.on("/token", exchange, said(307, Location=f"{other.url}/token"))
    keys = Keyring({script.authority: Credentials("unnamed", "", "refresh me")})

    await RegistryUpstream(session, keys).acting_for(OPERATOR).fetch_manifest(tool(script))
    with pytest.raises(SwellError):
        await RegistryUpstream(session, keys).acting_for(OPERATOR).fetch_manifest(tool(script))

    refresh_fields = {"grant_type": "refresh_token", "client_id": "swell", "refresh_token": "refresh me"}
    assert asked == [{"service": "reg", "scope": "repository:team/tool:pull"} | refresh_fields]
    assert script.asked("/token") == [None, None]
    assert not other.seen


async def test_a_token_that_is_refused_is_fetched_anew_once(script: Script, upstream: RegistryUpstream) -> None:
    """It may have been revoked before its time; a registry that refuses the new one as well means it."""
    script.on(PATH, guarded(script, "first"))
    script.on("/token", token("first"), token("second"))
    await upstream.fetch_manifest(tool(script))
    script.on(PATH, guarded(script, "second"))

    await upstream.fetch_manifest(tool(script))

    script.on(PATH, challenged(script))
    with pytest.raises(Denied):
        await upstream.fetch_manifest(tool(script))


async def test_an_expired_token_is_not_shown(script: Script, upstream: RegistryUpstream) -> None:
    """One that lives no longer than our margin is used once."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc", expires_in=1))

    await upstream.fetch_manifest(tool(script))
    await upstream.fetch_manifest(tool(script))

    assert len(script.asked("/token")) == 2


async def test_a_token_is_renewed_before_it_ends_and_no_pull_waits(
    script: Script, upstream: RegistryUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the last quarter of its life the next one is fetched beside the work; one for all who pull meanwhile."""
    monkeypatch.setattr(auth, "YOUNG", 0)  # old from the start
    script.on(PATH, guarded(script, "first", "second"))
    script.on("/token", token("first"))
    await upstream.fetch_manifest(tool(script))
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        asked.set()
        await go_on.wait()
        return token("second")(request)  # type: ignore[return-value]

    script.on("/token", slow)
    await asyncio.gather(*(upstream.fetch_manifest(tool(script)) for _ in range(10)))
    await asyncio.wait_for(asked.wait(), 30)
    assert set(script.asked(PATH)) == {None, "Bearer first"}

    go_on.set()
    async with asyncio.timeout(30):
        while script.asked(PATH)[-1] != "Bearer second":
            await upstream.fetch_manifest(tool(script))

    assert len(script.asked("/token")) >= 2


async def test_a_token_service_that_fails_ahead_of_time_costs_nothing(
    script: Script, upstream: RegistryUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token that is there is still good."""
    monkeypatch.setattr(auth, "YOUNG", 0)
    script.on(PATH, guarded(script, "first"))
    script.on("/token", token("first"), said(500))

    for _ in range(5):
        await upstream.fetch_manifest(tool(script))

    assert script.asked(PATH)[1:] == 5 * ["Bearer first"]


async def test_tokens_are_not_shared_between_credentials(script: Script, session: aiohttp.ClientSession) -> None:
    """Two teams with the same user name and passwords that begin alike are two teams."""
    keys = Keyring({
        f"{script.authority}/team": Credentials("_json_key", '{"key": 1}'),
        f"{script.authority}/team/tool": Credentials("_json_key", '{"key": 2}'),
    })  # fmt: skip
    script.on(PATH, guarded(script, "abc"))
    script.on("/v2/team/other/manifests/1", guarded(script, "abc"))
    script.on("/token", token("abc"))
    upstream = RegistryUpstream(session, keys).acting_for(OPERATOR)

    await upstream.fetch_manifest(tool(script))
    await upstream.fetch_manifest(parse_reference(f"{script.authority}/team/other:1"))

    assert script.asked("/token") == [
        keys.entries[f"{script.authority}/{path}"].basic for path in ("team/tool", "team")
    ]


async def test_a_challenge_that_is_no_text_is_answered_all_the_same() -> None:
    """Headers may have any bytes, also invalid UTF-8."""
    challenge = b'WWW-Authenticate: Bearer realm="http://%b/token",service="\xff\xfe"\r\nContent-Length: 0\r\n\r\n'

    async def say(writer: asyncio.StreamWriter) -> None:
        where = "{}:{}".format(*writer.get_extra_info("sockname")[:2]).encode()
        writer.write(b"HTTP/1.1 401 Unauthorized\r\n" + challenge % where)
        await writer.drain()

    async with raw(say) as authority, open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        with pytest.raises(Denied):
            await RegistryUpstream(session, Keyring()).fetch_manifest(parse_reference(f"{authority}/team/tool:1"))


@pytest.mark.parametrize(
    "realm",
    [
        "ftp://x/token",
        "/token",
        "http://",
        "http://[",
        "http://me:pw@127.0.0.1/token",
        "file:///etc/passwd",
        "http://xn--a/t",
        "http://a..b/t",
    ],
)
async def test_a_realm_that_makes_no_sense_gets_no_credentials(
    script: Script, session: aiohttp.ClientSession, realm: str
) -> None:
    """The realm comes from a host that a user names."""
    script.on(PATH, challenged(script, f'Bearer realm="{realm}"'))

    with pytest.raises(UpstreamFailed):
        await with_credentials(session, script).fetch_manifest(tool(script))


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(401), Denied),
        (said(403), Denied),
        (said(429, Retry_After="7"), TooManyRequests),
        (said(500), UpstreamFailed),
        (said(404), UpstreamFailed),
        (said(body=b"nonsense"), UpstreamFailed),
        (said(body=b"{}"), UpstreamFailed),
        (said(body=b'{"later":' + b"[" * 50_000 + b"]" * 50_000 + b"}"), UpstreamFailed),
        (said(body=b'{"token": "a\\r\\nX-Evil: 1"}'), UpstreamFailed),
        (said(body=bytes(2 << 20)), UpstreamFailed),
    ],
)
async def test_errors_of_a_token_service_are_distinguished(
    script: Script, upstream: RegistryUpstream, answer: Answer, error: type[SwellError]
) -> None:
    """Refusal, too many requests and nonsense have different cures."""
    script.on(PATH, challenged(script))
    script.on("/token", answer)

    with pytest.raises(error):
        await upstream.fetch_manifest(tool(script))


@pytest.mark.parametrize("expires_in", ["300", "soon", "NaN", "-1", None, -5, 0, 1e300, True, [], {}])
async def test_a_token_with_an_odd_life_is_used(script: Script, upstream: RegistryUpstream, expires_in: object) -> None:
    """The token itself is good; a life that makes no sense is the minute that the specification has."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc", expires_in=expires_in))

    await upstream.fetch_manifest(tool(script))
    await upstream.fetch_manifest(tool(script))

    assert script.asked(PATH)[-1] == "Bearer abc"


async def test_a_realm_that_moves_is_followed(script: Script, other: Script, upstream: RegistryUpstream) -> None:
    """The registry names the new one to those who ask without a token; the old one was once asked until a restart."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/v2/team/more/manifests/1", guarded(script, "abc"))
    script.on("/token", token("abc"))
    await upstream.fetch_manifest(tool(script))
    script.on("/token", said(403))
    moved = challenged(script, f'Bearer realm="{other.url}/token"')

    def judge(request: web.Request) -> web.StreamResponse:
        found = good if request.headers.get("Authorization") == "Bearer new" else moved
        return found(request)  # type: ignore[return-value]

    script.on("/v2/team/more/manifests/1", judge)
    other.on("/token", token("new"))

    await upstream.fetch_manifest(parse_reference(f"{script.authority}/team/more:1"))

    assert len(other.asked("/token")) == 1


async def test_a_registry_that_opens_needs_no_token_any_more(script: Script, upstream: RegistryUpstream) -> None:
    """Its token service may be gone with the challenge."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc"))
    await upstream.fetch_manifest(tool(script))
    script.on("/token", said(404))
    script.on("/v2/team/open/manifests/1", good)

    await upstream.fetch_manifest(parse_reference(f"{script.authority}/team/open:1"))


async def test_a_service_that_refuses_is_not_asked_twice_for_one_request(
    script: Script, upstream: RegistryUpstream
) -> None:
    """The same realm gives the same answer a moment later."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/v2/team/private/manifests/1", challenged(script))
    script.on("/token", token("abc"))
    await upstream.fetch_manifest(tool(script))
    script.on("/token", said(429, Retry_After="7"))
    script.seen.clear()

    with pytest.raises(TooManyRequests):
        await upstream.fetch_manifest(parse_reference(f"{script.authority}/team/private:1"))

    assert len(script.asked("/token")) == 1


async def test_a_challenge_whose_answer_is_refused_is_not_remembered(
    script: Script, upstream: RegistryUpstream
) -> None:
    """One repository with an odd challenge must not cost the others of its registry a request."""
    script.on("/v2/team/odd/manifests/1", challenged(script))
    script.on("/token", token("abc"))
    script.on(PATH, good)
    with pytest.raises(Denied):
        await upstream.fetch_manifest(parse_reference(f"{script.authority}/team/odd:1"))
    script.seen.clear()

    await upstream.fetch_manifest(tool(script))

    assert [url.path for _, url, _ in script.seen] == [PATH]


async def test_a_cached_token_that_is_forbidden_is_fetched_again(script: Script, upstream: RegistryUpstream) -> None:
    """Rights that were given after the token was made are in the next token only."""
    script.on(PATH, guarded(script, "first"))
    script.on("/token", token("first"), token("second"))
    await upstream.fetch_manifest(tool(script))

    def judge(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") == "Bearer first":
            return web.Response(status=403)
        return guarded(script, "second")(request)  # type: ignore[return-value]

    script.on(PATH, judge)

    await upstream.fetch_manifest(tool(script))


async def test_a_cached_challenge_expires_after_minutes(
    script: Script, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong cached challenge is corrected without a restart."""
    monkeypatch.setattr(auth, "CHALLENGE_SECONDS", 0)
    upstream = RegistryUpstream(session, Keyring())
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc"))

    await upstream.fetch_manifest(tool(script))
    await upstream.fetch_manifest(tool(script))

    assert script.asked(PATH) == [None, "Bearer abc"] * 2
    assert len(script.asked("/token")) == 1


async def test_a_challenge_is_remembered_for_one_principal(script: Script, upstream: RegistryUpstream) -> None:
    """What a registry wants to see from one user says nothing about the next."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", token("abc"))
    await upstream.acting_for(Principal("one")).fetch_manifest(tool(script))
    script.seen.clear()

    await upstream.acting_for(Principal("two")).fetch_manifest(tool(script))

    assert script.asked(PATH) == [None, "Bearer abc"]


async def test_a_silent_token_service_is_left_alone(script: Script, other: Script) -> None:
    """Each request for the repository would otherwise wait for half of the answer timeout."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    script.on(PATH, said(401, WWW_Authenticate=f'Bearer realm="{other.url}/token"'))
    other.on("/token", silent)
    async with open_session(Policy(frozenset({"127.0.0.1"})), Reach(answer_timeout=timedelta(seconds=1))) as session:
        upstream = RegistryUpstream(session, Keyring())
        for _ in range(CircuitBreaker.FAILURES):
            with pytest.raises(UpstreamFailed):
                await upstream.fetch_manifest(tool(script))

        with pytest.raises(UpstreamDown):
            await upstream.fetch_manifest(tool(script))


@pytest.mark.parametrize("status", [404, 405])
async def test_an_identity_token_is_a_password_where_post_is_not_known(
    script: Script, session: aiohttp.ClientSession, status: int
) -> None:
    """Not every token service has the newer way; containerd and go-containerregistry go on with the older one."""
    script.on(PATH, guarded(script, "abc"))
    script.on("/token", said(status), token("abc"))
    keys = Keyring({script.authority: Credentials("me", "", "refresh me")})

    await RegistryUpstream(session, keys).acting_for(OPERATOR).fetch_manifest(tool(script))

    assert [method for method, url, _ in script.seen if url.path == "/token"] == ["POST", "GET"]
    assert script.asked("/token") == [None, Credentials("me", "refresh me").basic]
