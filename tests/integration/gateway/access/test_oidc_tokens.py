"""Tokens of an OpenID Connect issuer, over real sockets: which are accepted, and what their claims give."""

import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from joserfc.jwk import ECKey, OctKey
from msgspec.structs import replace

from gateway.access.authenticator import Authenticator, IdentitySources
from gateway.adapters.oidc.provider import FRESH_SECONDS, RETRY_SECONDS, USABLE_SECONDS, Provider
from gateway.adapters.oidc.tokens import OidcTokens
from gateway.domain.access.identity import USER_SCOPES, Identity, Scope
from gateway.domain.access.issuers import Issuer, Rule
from swell.errors import TokenInvalid, Unauthorized, Unavailable
from swell.net.outbound import Policy, open_session
from swell.registry.credentials.principal import OPERATOR, PUBLIC
from swell.testing.oidc_issuer import OidcIssuer, new_key, serving_issuer

SERVER = "https://swell.example.org"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def stranger() -> AsyncIterator[OidcIssuer]:
    """An issuer that the server does not know."""
    async with serving_issuer() as served:
        yield served


@pytest.fixture
async def issuer() -> AsyncIterator[OidcIssuer]:
    async with serving_issuer() as served:
        yield served


@pytest.fixture
async def session(issuer: OidcIssuer) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(Policy(frozenset({"127.0.0.1"}))) as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


Open = Callable[..., OidcTokens]


@pytest.fixture
def opened(issuer: OidcIssuer, session: aiohttp.ClientSession, clock: Clock) -> Open:
    """Return the tokens of a server that trusts *issuer*, with changed fields."""

    def open_tokens(clock_of_tokens: Callable[[], float] = time.time, **changes: Any) -> OidcTokens:
        known = replace(Issuer(name="lab", url=issuer.url, required={}), **changes)
        return OidcTokens([Provider(session, known, clock)], SERVER, clock_of_tokens)

    return open_tokens


@pytest.fixture
def tokens(opened: Open) -> OidcTokens:
    return opened()


async def test_a_valid_token_identifies_its_user(tokens: OidcTokens, issuer: OidcIssuer) -> None:
    """Name, verified e-mail, groups, scopes and expiry come from the claims."""
    identity = await tokens.identify(issuer.token(SERVER, groups=["genomics"], jti="7"), None)

    assert identity == Identity(
        user="oidc:lab:ada",
        email="ada@example.org",
        groups=("genomics",),
        scopes=USER_SCOPES,
        key_id="oidc-lab-7",
        expires=identity.expires if identity else None,
    )
    assert identity.expires and identity.expires > datetime.now(UTC)


async def test_a_warm_token_costs_no_request(tokens: OidcTokens, issuer: OidcIssuer) -> None:
    """A pipeline sends the same token hundreds of times: the issuer is asked for its keys once."""
    token = issuer.token(SERVER)
    first = await tokens.identify(token, None)
    issuer.status = 503

    assert [await tokens.identify(token, None) for _ in range(50)] == [first] * 50
    assert issuer.requests == {"/.well-known/openid-configuration": 1, "/keys": 1}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"exp": -61}, "expired"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"nbf": 120}, "nbf"),
        ({"iat": 120}, "iat"),
        ({"aud": "https://other.example.org"}, "aud"),
        ({"aud": [f"{SERVER}.evil.example.org"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": "two words"}, "not the name of a user"),
        ({"sub": "a" * 250}, "not the name of a user"),
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(
    tokens: OidcTokens, issuer: OidcIssuer, changes: dict[str, Any], problem: str
) -> None:
    """Expired, for another server, or without a user. Times are relative to now."""
    now = int(time.time())
    absolute: dict[str, Any] = {name: now + each if isinstance(each, int) else each for name, each in changes.items()}
    token = issuer.token(SERVER, **absolute)

    with pytest.raises(TokenInvalid, match=problem) as error:
        await tokens.identify(token, None)
    assert token.split(".")[1] not in str(error.value)


async def test_the_clock_of_the_issuer_may_differ(tokens: OidcTokens, opened: Open, issuer: OidcIssuer) -> None:
    """By a minute, or what the operator says."""
    late = int(time.time()) + 30

    assert await tokens.identify(issuer.token(SERVER, nbf=late, iat=late), None)
    with pytest.raises(TokenInvalid):
        await opened(leeway=5).identify(issuer.token(SERVER, nbf=late), None)


@pytest.mark.parametrize("forge", [OidcIssuer.unsigned, OidcIssuer.signed_with_public_key])
async def test_a_token_without_a_signature_of_the_issuer_is_refused(
    tokens: OidcTokens, issuer: OidcIssuer, forge: Callable[[OidcIssuer, str], str]
) -> None:
    """`alg: none`, and HMAC whose secret is the public key: both are old attacks."""
    with pytest.raises(TokenInvalid, match="may not be signed with"):
        await tokens.identify(forge(issuer, SERVER), None)


async def test_algorithms_that_the_operator_has_not_allowed_are_refused(opened: Open, issuer: OidcIssuer) -> None:
    """Also if the issuer publishes a key for them."""
    key = ECKey.generate_key("P-256", {"kid": "curve"})
    issuer.published.append(key)
    token = issuer.token(SERVER, key=key)

    assert await opened().identify(token, None)
    with pytest.raises(TokenInvalid, match="ES256"):
        await opened(algorithms=("RS256",)).identify(token, None)


async def test_a_token_that_is_signed_with_another_key_is_refused(tokens: OidcTokens, issuer: OidcIssuer) -> None:
    """A key that claims the id of a published one, and the key of another type under this id."""
    swapped = [new_key("first"), ECKey.generate_key("P-256", {"kid": "first"})]

    for key in swapped:
        with pytest.raises(TokenInvalid, match="signature"):
            await tokens.identify(issuer.token(SERVER, key=key), None)


async def test_a_changed_token_is_refused(tokens: OidcTokens, issuer: OidcIssuer) -> None:
    """The body of one token with the signature of another."""
    head, _, signature = issuer.token(SERVER).split(".")
    _, body, _ = issuer.token(SERVER, sub="root").split(".")

    with pytest.raises(TokenInvalid, match="signature"):
        await tokens.identify(f"{head}.{body}.{signature}", None)


async def test_a_token_of_an_unknown_issuer_is_refused(
    tokens: OidcTokens, issuer: OidcIssuer, stranger: OidcIssuer
) -> None:
    """Also if it names a known issuer; no request is sent to the stranger."""
    with pytest.raises(TokenInvalid, match="issuer"):
        await tokens.identify(stranger.token(SERVER), None)
    with pytest.raises(TokenInvalid):
        await tokens.identify(stranger.token(SERVER, iss=issuer.url), None)
    assert await tokens.identify(stranger.token("https://proxy.example.org"), None) is None
    assert not stranger.requests


@pytest.mark.parametrize("token", ["", "swell_key", "a.b.c", "ey.ey.ey", "eyJh.!.x", "ey" + "A" * 20_000 + ".e.e"])
async def test_other_tokens_are_left_to_other_sources(tokens: OidcTokens, token: str) -> None:
    """API keys, and tokens of a Seqera Platform."""
    assert await tokens.identify(token, None) is None


async def test_a_new_key_is_accepted_soon(tokens: OidcTokens, issuer: OidcIssuer, clock: Clock) -> None:
    """Issuers replace their keys at any time, and sign with the new one at once."""
    await tokens.identify(issuer.token(SERVER), None)
    issuer.rotate("second")
    clock.now += RETRY_SECONDS

    assert await tokens.identify(issuer.token(SERVER), None)
    assert issuer.requests["/keys"] == 2


async def test_unknown_key_ids_do_not_flood_the_issuer(tokens: OidcTokens, issuer: OidcIssuer, clock: Clock) -> None:
    """A stranger invents key ids; the keys are fetched at most every ten seconds."""
    await tokens.identify(issuer.token(SERVER), None)
    clock.now += RETRY_SECONDS
    for number in range(100):
        with pytest.raises(TokenInvalid, match="does not have"):
            await tokens.identify(issuer.token(SERVER, header={"kid": f"invented-{number}"}), None)
        clock.now += RETRY_SECONDS / 100

    assert issuer.requests["/keys"] <= 3


async def test_a_removed_key_is_refused(tokens: OidcTokens, issuer: OidcIssuer, clock: Clock) -> None:
    """After a leak the issuer removes the key: tokens of it that were accepted before are refused, too."""
    token = issuer.token(SERVER)
    assert await tokens.identify(token, None)
    issuer.rotate("second", keep=False)
    clock.now += USABLE_SECONDS + 1

    with pytest.raises(TokenInvalid, match="does not have"):
        await tokens.identify(token, None)


async def test_an_outage_of_the_issuer_is_not_noticed_for_an_hour(
    tokens: OidcTokens, issuer: OidcIssuer, clock: Clock
) -> None:
    """Then tokens cannot be verified, which is no fault of the client: 503."""
    await tokens.identify(issuer.token(SERVER), None)
    issuer.status = 503
    clock.now += FRESH_SECONDS + 1
    assert await tokens.identify(issuer.token(SERVER), None)
    clock.now += USABLE_SECONDS

    with pytest.raises(Unavailable, match="cannot be verified now"):
        await tokens.identify(issuer.token(SERVER), None)
    issuer.status = 200
    clock.now += RETRY_SECONDS
    assert await tokens.identify(issuer.token(SERVER), None)


async def test_a_token_without_a_key_id_is_of_the_only_key(tokens: OidcTokens, issuer: OidcIssuer) -> None:
    """With several keys, it would be a guess."""
    token = issuer.token(SERVER, header={"kid": ""})

    assert await tokens.identify(token, None)


async def test_secrets_in_the_key_set_are_not_used(tokens: OidcTokens, issuer: OidcIssuer) -> None:
    """An issuer that publishes a symmetric key by mistake does not open the server."""
    key = OctKey.generate_key(256, {"kid": "secret"})
    issuer.published.append(key)  # type: ignore[arg-type]
    token = issuer.token(SERVER, key=key, header={"alg": "HS256"})

    with pytest.raises(TokenInvalid):
        await tokens.identify(token, None)


async def test_required_claims_limit_who_may_use_the_server(opened: Open, issuer: OidcIssuer) -> None:
    """GitHub gives tokens to every repository of the world: only those of the laboratory are accepted."""
    tokens = opened(required={"repository_owner": "lab", "ref": ("refs/heads/main", "refs/tags/*")}, user="repository")
    claims: dict[str, Any] = {"repository_owner": "lab", "repository": "lab/pipeline", "ref": "refs/tags/v1"}

    identity = await tokens.identify(issuer.token(SERVER, **claims), None)

    assert identity and identity.user == "oidc:lab:lab/pipeline"
    for change in ({"repository_owner": "lab2"}, {"ref": "refs/heads/pr"}, {"repository_owner": None}):
        with pytest.raises(TokenInvalid, match="is not one that this server accepts"):
            await tokens.identify(issuer.token(SERVER, **claims | change), None)


async def test_rules_give_more_to_some_users(opened: Open, issuer: OidcIssuer) -> None:
    """Groups of administrators, and workloads with credentials of the operator."""
    tokens = opened(
        groups="realm_access.roles",
        scopes=(Scope.PULL,),
        rule=(
            Rule(when={"realm_access.roles": "admins"}, scopes=(Scope.ADMINISTER,), secrets=("token",)),
            Rule(when={"team": "*"}, scopes=(Scope.OPERATOR_PULL,), repositories=("quay.io/lab",)),
        ),
    )

    admin = await tokens.identify(issuer.token(SERVER, realm_access={"roles": ["admins", "users"]}), None)
    user = await tokens.identify(issuer.token(SERVER, team="a", realm_access={"roles": "users"}), None)

    assert admin and admin.is_operator and admin.groups == ("admins", "users") and admin.secrets == {"token"}
    assert user and user.scopes == {Scope.PULL, Scope.OPERATOR_PULL} and not user.is_operator
    assert (admin.pulls_as, user.pulls_as, user.pushes_as) == (PUBLIC, "operator:quay.io/lab", PUBLIC)
    everything = await opened(scopes=(Scope.OPERATOR_PULL,)).identify(issuer.token(SERVER), None)
    assert everything and everything.pulls_as == OPERATOR


@pytest.mark.parametrize("verified", [False, "true", None])
async def test_an_email_that_is_not_verified_is_not_used(tokens: OidcTokens, issuer: OidcIssuer, verified: Any) -> None:
    """Otherwise a user could claim the address of another one."""
    identity = await tokens.identify(issuer.token(SERVER, email_verified=verified), None)

    assert identity and identity.email == ""


async def test_an_invalid_bearer_token_does_not_become_anonymous(tokens: OidcTokens, issuer: OidcIssuer) -> None:
    """A job whose token has expired must learn it; a token for a reverse proxy is ignored, as before."""
    door = Authenticator(IdentitySources(tokens), anonymous_access=True)

    with pytest.raises(TokenInvalid, match="expired"):
        await door.authenticate(None, bearer=issuer.token(SERVER, exp=1))
    with pytest.raises(TokenInvalid, match="expired"):
        await door.authenticate(issuer.token(SERVER, exp=1), "https://api.cloud.seqera.io")
    assert (await door.authenticate(None, bearer="for-a-proxy")).is_anonymous
    with pytest.raises(Unauthorized):
        await Authenticator(IdentitySources(tokens), anonymous_access=False).authenticate(None, bearer="for-a-proxy")


async def test_an_expired_token_is_not_served_from_the_cache(opened: Open, issuer: OidcIssuer) -> None:
    """The cache ends when the token does."""
    now = time.time()
    tokens = opened(lambda: now)
    token = issuer.token(SERVER)
    assert await tokens.identify(token, None)
    now += 300 + 61

    with pytest.raises(TokenInvalid, match="expired"):
        await tokens.identify(token, None)
