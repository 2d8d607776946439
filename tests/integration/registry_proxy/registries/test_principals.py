"""Which credentials a registry gets, as the registry sees it."""

import aiohttp
import pytest
from aiohttp import web

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.errors import Denied, SwellError
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR, PUBLIC, Principal, limited_to, rules_of
from tests.integration.registry_proxy.support import Registry, Script, make_image, said

ME = Credentials("me", "secret")
PATH = "/v2/team/tool/manifests/1"

good = said(body=make_image().manifest, content_type=OCI_MANIFEST)


def tool(script: Script) -> Reference:
    return parse_reference(f"{script.authority}/team/tool:1")


def upstream_of(session: aiohttp.ClientSession, script: Script, *shared: str, own: str = "") -> RegistryUpstream:
    rules = rules_of([own], shared)
    return RegistryUpstream(session, Keyring({script.authority: ME}, rules.may_read))


def wanting_a_password(request: web.Request) -> web.StreamResponse:
    if request.headers.get("Authorization") == ME.basic:
        return good(request)  # type: ignore[return-value]
    return said(401, WWW_Authenticate="Basic realm=r")(request)  # type: ignore[return-value]


async def test_a_private_image_is_not_read_for_all_clients(script: Script, session: aiohttp.ClientSession) -> None:
    """The operator's password is not even sent."""
    script.on(PATH, wanting_a_password)

    with pytest.raises(Denied):
        await upstream_of(session, script).fetch_manifest(tool(script))

    assert set(script.asked(PATH)) == {None}


@pytest.mark.parametrize("principal", [OPERATOR, "scope"])
async def test_a_principal_that_opens_it_reads_it(
    script: Script, session: aiohttp.ClientSession, principal: str
) -> None:
    """With the scope of an API key, for all or for this repository."""
    script.on(PATH, wanting_a_password)
    acting = OPERATOR if principal == OPERATOR else limited_to([f"{script.authority}/team"])

    await upstream_of(session, script).acting_for(acting).fetch_manifest(tool(script))

    assert script.asked(PATH)[-1] == ME.basic


async def test_a_shared_registry_is_read_for_all_clients(script: Script, session: aiohttp.ClientSession) -> None:
    """The operator has said so."""
    script.on(PATH, wanting_a_password)

    await upstream_of(session, script, script.authority).fetch_manifest(tool(script))

    assert script.asked(PATH)[-1] == ME.basic


async def test_builds_in_a_shared_registry_are_not_read_for_all_clients(
    script: Script, session: aiohttp.ClientSession
) -> None:
    """The embedded registry holds both bases and what was built of private ones."""
    script.on(PATH, wanting_a_password)
    own = f"{script.authority}/team/tool"

    with pytest.raises(Denied):
        await upstream_of(session, script, script.authority, own=own).fetch_manifest(tool(script))

    await upstream_of(session, script, own=own).acting_for(limited_to([own])).fetch_manifest(tool(script))


async def test_a_public_image_is_read_with_the_operators_credentials(
    script: Script, session: aiohttp.ClientSession
) -> None:
    """Registries have higher limits for accounts; whether the image is public is checked once."""

    def answer(request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") in {"Bearer anonymous", "Bearer mine"}:
            return good(request)  # type: ignore[return-value]
        return said(401, WWW_Authenticate=f'Bearer realm="{script.url}/token"')(request)  # type: ignore[return-value]

    def token(request: web.Request) -> web.StreamResponse:
        mine = request.headers.get("Authorization") == ME.basic
        return said(body=b'{"token":"mine"}' if mine else b'{"token":"anonymous"}')(request)  # type: ignore[return-value]

    script.on(PATH, answer)
    script.on("/token", token)
    upstream = upstream_of(session, script)

    for _ in range(3):
        await upstream.fetch_manifest(tool(script))

    asked = [(method, authorization) for method, url, authorization in script.seen if url.path == PATH]
    assert [each for each in asked if each == ("HEAD", "Bearer anonymous")] == [("HEAD", "Bearer anonymous")]
    first = ("GET", None)  # the challenge for the anonymous HEAD is not remembered for the operator's credentials
    assert [each for each in asked if each[0] == "GET"] == [first, *[("GET", "Bearer mine")] * 3]


async def test_an_unknown_tag_does_not_make_a_repository_private(
    script: Script, session: aiohttp.ClientSession
) -> None:
    """The next request checks again whether the repository is public."""
    script.on(PATH, good)
    upstream, missing = upstream_of(session, script), parse_reference(f"{script.authority}/team/tool:missing")
    with pytest.raises(SwellError):
        await upstream.fetch_manifest(missing)

    await upstream.fetch_manifest(tool(script))

    assert [method for method, url, _ in script.seen if url.path == PATH] == ["HEAD", "GET"]


@pytest.mark.parametrize(("principal", "readable"), [(PUBLIC, False), (OPERATOR, True)])
async def test_a_real_registry_with_a_password(
    registry: Registry, session: aiohttp.ClientSession, principal: Principal, readable: bool
) -> None:
    """Distribution with htpasswd shows nothing without it."""
    reference = parse_reference(f"{registry.authority}/team/nothing:1")
    keyring = Keyring({registry.authority: Credentials(registry.user, registry.password)})

    with pytest.raises(SwellError) as refused:
        await RegistryUpstream(session, keyring).acting_for(principal).head_manifest(reference)

    assert isinstance(refused.value, Denied) is not readable
