"""Credentials of workspaces at registries: each cache of the registry-proxy is theirs alone."""

from base64 import b64encode
from collections.abc import AsyncIterator

import aiohttp
import pytest

from registry_proxy.adapters.image_cache import ImageCache
from registry_proxy.adapters.upstream import RegistryUpstream
from swell.errors import Denied, ManifestUnknown
from swell.net.outbound import Policy, open_session
from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.aws import AwsLogins
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import Principal, with_owners
from swell.registry.credentials.user_credentials import FRESH_SECONDS, USABLE_SECONDS, UserCredentials
from tests.integration.registry_proxy.registries.amazon import ECR, KEYS, ROLE, Aws
from tests.integration.registry_proxy.registries.test_aws import wanting
from tests.integration.registry_proxy.support import Names, Script, make_image, said

ALICE, BOB = with_owners("platform", ["alice"]), with_owners("platform", ["bob"])
IMAGE = make_image()
DIGEST = digest_of(IMAGE.manifest)
LOGIN = Credentials("alice", "pw")
GOOD = said(body=IMAGE.manifest, content_type=OCI_MANIFEST)
REFUSED = said(401, WWW_Authenticate='Basic realm="x"')


class Workspaces:
    """Alice's workspace has *login*, Bob's has none."""

    def __init__(self, login: Credentials) -> None:
        self.logins = {ALICE: login}
        self.now = 0.0
        self.users = UserCredentials(self.find, lambda: self.now)

    async def find(self, principal: Principal, _: Reference) -> Credentials | None:
        return self.logins.get(principal)


def only_for(login: Credentials):  # type: ignore[no-untyped-def]
    """Answers with the manifest to *login* only."""
    basic = "Basic " + b64encode(f"{login.user}:{login.password}".encode()).decode()
    return lambda request: (GOOD if request.headers.get("Authorization") == basic else REFUSED)(request)


async def test_cached_manifests_and_tags_are_the_workspaces(script: Script, session: aiohttp.ClientSession) -> None:
    """Bob asks after Alice, for the tag and for the digest; after her login is withdrawn, Alice gets nothing either."""
    script.on("/v2/private/manifests/1", only_for(LOGIN))
    script.on(f"/v2/private/manifests/{DIGEST}", only_for(LOGIN))
    workspaces = Workspaces(LOGIN)
    keyring = Keyring(users=workspaces.users)
    cache = ImageCache(RegistryUpstream(session, keyring), keyring)
    images = [parse_reference(f"{script.authority}/private{each}") for each in (":1", f"@{DIGEST}")]

    for image in images * 2:
        assert (await cache.acting_for(ALICE).fetch_manifest(image)).content == IMAGE.manifest
        with pytest.raises((Denied, ManifestUnknown)):
            await cache.acting_for(BOB).fetch_manifest(image)
    asked = len(script.seen)
    await cache.acting_for(ALICE).fetch_manifest(images[1])
    assert len(script.seen) == asked  # it is cached, so the refusals below are for want of credentials
    workspaces.logins.clear()
    workspaces.now = FRESH_SECONDS + USABLE_SECONDS
    for image in images:
        with pytest.raises((Denied, ManifestUnknown)):
            await cache.acting_for(ALICE).fetch_manifest(image)


@pytest.fixture
async def amazon(script: Script) -> AsyncIterator[aiohttp.ClientSession]:
    """A session for which an ECR registry is *script*."""
    names = Names({ECR: [("127.0.0.1", int(script.url.port or 0))]})
    async with open_session(Policy(frozenset({ECR, "127.0.0.1"})), resolver=names) as session:
        yield session


@pytest.mark.parametrize("keys", [KEYS, ROLE])
async def test_aws_keys_and_roles_of_a_workspace_open_ecr(
    script: Script, other: Script, amazon: aiohttp.ClientSession, keys: Credentials
) -> None:
    """They are exchanged at AWS, a role with the keys of this server, and never sent to the registry."""
    aws = Aws(other)
    script.on("/v2/tool/manifests/1", wanting("AWS:first"))
    keyring = Keyring(users=Workspaces(keys).users)
    upstream = RegistryUpstream(amazon, keyring, frozenset({ECR}), AwsLogins(amazon, aws.settings))
    image = parse_reference(f"{ECR}/tool:1")

    assert (await upstream.acting_for(ALICE).fetch_manifest(image)).content == IMAGE.manifest
    with pytest.raises(Denied):
        await upstream.acting_for(BOB).fetch_manifest(image)
    assert keys.basic not in script.asked("/v2/tool/manifests/1")
    assert bool(aws.forms) == (keys is ROLE)
    if aws.forms:
        assert aws.forms[0]["ExternalId"] == [ROLE.password]
