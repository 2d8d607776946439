"""Amazon's registries: keys and roles are exchanged for logins at a scripted AWS that verifies signatures."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from registry_proxy.adapters.logins import Logins
from registry_proxy.adapters.upstream import RegistryUpstream
from swell.errors import Denied, SwellError, TooManyRequests, UpstreamFailed
from swell.net.outbound import Policy, open_session
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import parse_reference
from swell.registry.credentials.aws import AwsLogins, place_of
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR
from swell.registry.settings import RegistrySettings
from tests.integration.registry_proxy.registries.amazon import ECR, KEYS, PUBLIC, ROLE, SESSION, Aws
from tests.integration.registry_proxy.registries.sigv4 import signature
from tests.integration.registry_proxy.support import Answer, Names, Script, make_image, said

IMAGE = make_image()
good = said(body=IMAGE.manifest, content_type=OCI_MANIFEST)


@pytest.fixture
def aws(other: Script) -> Aws:
    return Aws(other)


@pytest.fixture
async def amazon(script: Script) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for which Amazon's registries are *script*; they are spoken to by plain http."""
    here = [("127.0.0.1", int(script.url.port or 0))]
    hosts = frozenset({ECR, PUBLIC, "127.0.0.1"})
    async with open_session(Policy(hosts), resolver=Names({ECR: here, PUBLIC: here})) as session:
        yield session


def upstream_of(session: aiohttp.ClientSession, aws: Aws, keys: dict[str, Credentials]) -> RegistryUpstream:
    return RegistryUpstream(session, Keyring(keys), frozenset(keys), AwsLogins(session, aws.settings)).acting_for(
        OPERATOR
    )


def wanting(login: str, challenge: str = 'Basic realm="https://x/",service="ecr.amazonaws.com"') -> Answer:
    """Shows the manifest to *login*."""
    basic = "Basic " + b64encode(login.encode()).decode()

    def answer(request: web.Request) -> web.StreamResponse:
        shown = request.headers.get("Authorization")
        return (good if shown == basic else said(401, WWW_Authenticate=challenge))(request)  # type: ignore[return-value]

    return answer


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("GET", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("POST", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ],
)
def test_our_verifier_gives_the_signatures_that_aws_published(method: str, expected: str) -> None:
    """`get-vanilla` and `post-vanilla` of AWS's test suite: else the tests below would prove nothing."""
    headers = {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"}
    scope = "20150830/us-east-1/service/aws4_request"

    assert (
        signature(method, "/", headers, "host;x-amz-date", b"", scope, "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
        == expected
    )


async def test_keys_are_exchanged_once_and_never_shown_to_the_registry(
    script: Script, aws: Aws, amazon: aiohttp.ClientSession
) -> None:
    """The login is good for hours; the key is good for everything that its owner may do."""
    script.on("/v2/tool/manifests/1", wanting("AWS:first"))
    upstream = upstream_of(amazon, aws, {ECR: KEYS})

    for _ in range(3):
        await upstream.fetch_manifest(parse_reference(f"{ECR}/tool:1"))

    assert aws.signers == [(KEYS.user, "eu-west-1", "ecr")]
    assert KEYS.basic not in script.asked("/v2/tool/manifests/1")


async def test_a_hundred_pulls_at_once_exchange_keys_once(aws: Aws, session: aiohttp.ClientSession) -> None:
    """AWS throttles this call."""
    logins = AwsLogins(session, aws.settings)

    found = await asyncio.gather(*(logins.login(ECR, KEYS) for _ in range(100)))

    assert {login.password for login in found} == {"first"}
    assert len(aws.signers) == 1


async def test_a_login_is_given_up_before_it_ends(aws: Aws, session: aiohttp.ClientSession) -> None:
    """Five minutes before: long enough for the pull that shows it."""
    logins = AwsLogins(session, aws.settings)
    aws.seconds = 301
    await logins.login(ECR, KEYS)
    await logins.login(ECR, KEYS)
    assert len(aws.signers) == 1

    aws.seconds, aws.login = 299, "AWS:second"
    short = AwsLogins(session, aws.settings)
    await short.login(ECR, KEYS)
    await short.login(ECR, KEYS)

    assert len(aws.signers) == 3


async def test_a_login_that_ends_too_soon_is_not_given_to_who_needs_it_for_long(
    aws: Aws, session: aiohttp.ClientSession
) -> None:
    """A build shows it from its first base image to its push. If AWS gives none that lasts, the newest must do."""
    logins, hour = AwsLogins(session, aws.settings), timedelta(hours=1)
    aws.seconds = 1200
    await logins.login(ECR, KEYS)
    aws.seconds, aws.login = 7200, "AWS:second"

    assert (await logins.login(ECR, KEYS, timedelta(minutes=10))).password == "first"
    assert (await logins.login(ECR, KEYS, hour)).password == "second"
    assert (await logins.login(ECR, KEYS, hour)).password == "second"
    assert len(aws.signers) == 2

    aws.login = "AWS:third"
    assert (await logins.login(ECR, KEYS, 3 * hour)).password == "third"


async def test_logins_are_not_shared_between_keys(aws: Aws, session: aiohttp.ClientSession) -> None:
    """Nor between regions."""
    logins = AwsLogins(session, aws.settings)
    aws.secrets["AKIAOTHER0000EXAMPLE"] = "another"
    await logins.login(ECR, KEYS)
    await logins.login(ECR.replace("eu-west-1", "us-east-2"), KEYS)
    await logins.login(ECR, Credentials("AKIAOTHER0000EXAMPLE", "another"))

    assert [(key, region) for key, region, _ in aws.signers] == [
        (KEYS.user, "eu-west-1"),
        (KEYS.user, "us-east-2"),
        ("AKIAOTHER0000EXAMPLE", "eu-west-1"),
    ]


async def test_a_role_is_assumed_with_the_operators_keys(
    script: Script, aws: Aws, amazon: aiohttp.ClientSession
) -> None:
    """The password is the external id, which keeps others from lending the role to us."""
    script.on("/v2/tool/manifests/1", wanting("AWS:first"))

    await upstream_of(amazon, aws, {ECR: ROLE}).fetch_manifest(parse_reference(f"{ECR}/tool:1"))

    assert aws.signers == [(KEYS.user, "eu-west-1", "sts"), (SESSION[0], "eu-west-1", "ecr")]
    [form] = aws.forms
    assert (form["Action"], form["RoleArn"], form["ExternalId"]) == (["AssumeRole"], [ROLE.user], [ROLE.password])


async def test_the_public_registry_gets_its_login_at_the_realm_it_names(
    script: Script, aws: Aws, amazon: aiohttp.ClientSession
) -> None:
    """It lives in us-east-1, wherever it is asked from, and wants tokens."""
    challenge = f'Bearer realm="{script.url.with_host("127.0.0.1")}/token",service="{PUBLIC}"'
    script.on("/v2/team/tool/manifests/1", wanting("unknown", challenge), good)
    script.on("/token", said(body=b'{"token": "abc"}'))

    await upstream_of(amazon, aws, {PUBLIC: KEYS}).fetch_manifest(parse_reference(f"{PUBLIC}/team/tool:1"))

    assert aws.signers == [(KEYS.user, "us-east-1", "ecr-public")]
    assert script.asked("/token") == [Credentials("AWS", "first").basic]
    assert script.asked("/v2/team/tool/manifests/1") == [None, "Bearer abc"]


@pytest.mark.parametrize(
    ("registry", "place"),
    [
        (ECR, ("ecr", "eu-west-1", "amazonaws.com")),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", ("ecr", "us-gov-west-1", "amazonaws.com")),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", ("ecr", "cn-north-1", "amazonaws.com.cn")),
        (PUBLIC, ("ecr-public", "us-east-1", "amazonaws.com")),
        (f"{ECR}.evil.org", None),
        (f"evil-{ECR}", None),
        (f"evil.org.{ECR}", None),
        (f"{ECR}:8443", None),
        (f"{PUBLIC}.evil.org", None),
        (f"evil{PUBLIC}", None),
        ("12345678901.dkr.ecr.eu-west-1.amazonaws.com", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.org", None),
        ("123456789012.dkr.ecr.evil.org/.eu-west-1.amazonaws.com", None),
        ("123456789012.dkrXecr.eu-west-1.amazonaws.com", None),
    ],
)
def test_only_amazons_own_names_are_amazons(registry: str, place: tuple[str, str, str] | None) -> None:
    """A host that merely looks like one would be handed a login."""
    assert place_of(registry) == place


@pytest.mark.parametrize(
    ("registry", "credentials"),
    [
        (f"{ECR}.evil.org", KEYS),
        ("quay.io", KEYS),
        (ECR, Credentials("AWS", "a login of the operator's own")),
        (ECR, Credentials("AKIA", "too short for a key")),
        (ECR, Credentials("arn:aws:iam::123456789012:user/me", "no role")),
    ],
)
async def test_other_credentials_stay_what_they_are(
    aws: Aws, session: aiohttp.ClientSession, registry: str, credentials: Credentials
) -> None:
    """Nothing is asked, and nothing is guessed."""
    assert await AwsLogins(session, aws.settings).login(registry, credentials) == credentials
    assert not aws.signers


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (said(400, b'{"__type": "UnrecognizedClientException", "message": "secret"}'), Denied),
        (said(403, b"secret"), Denied),
        (said(400, b'{"__type": "ThrottlingException"}'), TooManyRequests),
        (said(429, b"secret"), TooManyRequests),
        (said(500, b"secret"), UpstreamFailed),
        (said(503, b"secret"), UpstreamFailed),
        (said(200, b"<html>secret</html>"), UpstreamFailed),
        (said(200, b'{"authorizationData": []}'), UpstreamFailed),
        (said(200, b'{"authorizationData": [{"authorizationToken": "secret", "expiresAt": 1}]}'), UpstreamFailed),
        (said(200, bytes(1 << 20)), UpstreamFailed),
    ],
)
async def test_errors_of_aws_are_distinguished_and_not_quoted(
    other: Script, aws: Aws, session: aiohttp.ClientSession, answer: Answer, error: type[SwellError]
) -> None:
    """Wrong keys, too many requests and an outage have different cures."""
    other.on("/ecr", answer)

    with pytest.raises(error) as caught:
        await AwsLogins(session, aws.settings).login(ECR, KEYS)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"<a/>", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&d;</a>', b"<A><AccessKeyId>x</AccessKeyId></A>"],
)
async def test_an_sts_that_makes_no_sense_is_the_upstreams_failure(
    other: Script, aws: Aws, session: aiohttp.ClientSession, body: bytes
) -> None:
    """Any response ends in one of Swell's errors."""
    other.on("/sts", said(200, body))

    with pytest.raises(UpstreamFailed):
        await AwsLogins(session, aws.settings).login(ECR, ROLE)


async def test_a_user_cannot_borrow_the_operators_roles(
    script: Script, aws: Aws, amazon: aiohttp.ClientSession
) -> None:
    """Credentials that a user has us check may be keys; a role would be assumed in the operator's name."""
    script.on("/v2/", wanting("AWS:first"))
    logins = Logins(
        amazon, frozenset({ECR}), AwsLogins(amazon, RegistrySettings(aws_ecr_endpoint=aws.settings.aws_ecr_endpoint))
    )

    assert await logins.accepts(ECR, KEYS)
    assert not await logins.accepts(ECR, ROLE)
    assert not await logins.accepts(ECR, Credentials(KEYS.user, "wrong"))
    assert not aws.forms
