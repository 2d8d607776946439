"""Users of a Seqera Platform: who they are, and what the credentials of their workspaces open.

The Platform is a stand-in, a program of its own (`tests/platform`); its private registry is a real one.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from swell_embedded.stack import Stack
from tests.e2e.busybox import FORMS
from tests.e2e.client import PLAIN, Swell, client_of
from tests.e2e.conftest import OpenStack
from tests.e2e.platforms import (
    ALICE,
    BOB,
    OTHERS,
    WORKSPACE,
    StandIn,
    container_registry,
    open_platform,
    platforms_file,
)
from tests.e2e.upstreams import Upstreams, image_of

UNNAMED = "https://platform.example.org/api"


class Site(NamedTuple):
    """A stack without operator's credentials for the registry, and a paired Platform."""

    stack: Stack
    swell: Swell
    platform: StandIn


@pytest.fixture(scope="module")
async def site(new_stack: OpenStack, upstreams: Upstreams, tmp_path_factory: Any) -> AsyncIterator[Site]:
    home: Path = tmp_path_factory.mktemp("platform")
    async with open_platform(home / "stand-in") as platform:
        file = platforms_file(home / "platforms.toml", platform.endpoint)
        settings = {"PLATFORMS_FILE": str(file), "SHARED_REGISTRIES": ""}
        async with new_stack(home / "stack", **settings) as stack, client_of(stack.url) as swell:
            await platform.knows(
                credentials={f"/{WORKSPACE}": [container_registry(upstreams, upstreams.basic)], f"/{OTHERS}": []}
            )
            await platform.pair(stack.url)
            yield Site(stack, swell, platform)


async def ask(site: Site, token: str, workspace: int | None = None, **request: Any) -> tuple[int, dict[str, Any]]:
    members = {"towerAccessToken": token, "towerEndpoint": site.platform.endpoint}
    return await site.swell.post(**request, **members, **({"towerWorkspaceId": workspace} if workspace else {}))


async def test_a_user_of_the_platform_is_known(site: Site, upstreams: Upstreams) -> None:
    """A request with a token of the Platform is accepted, after one question over the pairing socket."""
    status, answer = await ask(site, ALICE, containerImage=upstreams.image())

    assert status == 200, answer
    asked = [each for each in await site.platform.requests() if each["url"] == "/user-info"]
    assert {each["way"] for each in asked} == {"socket"}
    assert ALICE in {each["token"] for each in asked}


@pytest.mark.row("T17")
@pytest.mark.parametrize("path", ["/v1alpha2/container", "/container-token", "/v1alpha1/inspect"])
async def test_a_token_for_an_unpaired_endpoint_is_400(site: Site, upstreams: Upstreams, path: str) -> None:
    """The operator has not named the endpoint, so its token is sent nowhere."""
    status, answer = await site.swell.post(
        path, containerImage=upstreams.image(), towerAccessToken="unknown", towerEndpoint=UNNAMED
    )

    assert (status, answer["code"]) == (400, "ENDPOINT_UNPAIRED")


async def test_an_unknown_token_is_401(site: Site, upstreams: Upstreams) -> None:
    """The Platform answers 401, and the client has no refresh token."""
    status, answer = await ask(site, "token-of-another", containerImage=upstreams.image())

    assert (status, answer["code"]) == (401, "UNAUTHORIZED"), answer


async def test_a_workspace_of_others_is_404(site: Site, upstreams: Upstreams) -> None:
    """The user may not see the workspace, and the Platform answers 404, which reaches the client."""
    status, answer = await ask(site, ALICE, OTHERS, containerImage=image_of(upstreams.basic))

    assert status == 404, answer
    assert "workspace" in answer["message"]


async def test_an_api_key_is_not_sent_to_the_platform(site: Site, upstreams: Upstreams) -> None:
    """Clients send the endpoint of the Platform with every token."""
    before = len(await site.platform.requests())

    assert (await ask(site, PLAIN, containerImage=upstreams.image()))[0] == 200
    assert (await ask(site, "swell_unknown", containerImage=upstreams.image()))[0] == 400

    assert len(await site.platform.requests()) == before


async def test_the_workspace_credentials_open_a_private_image(site: Site, upstreams: Upstreams) -> None:
    """Alice's workspace has a login for the registry; without the workspace, or as another user, there is none."""
    private = image_of(upstreams.basic)

    status, answer = await ask(site, ALICE, WORKSPACE, containerImage=private)
    assert status == 200, answer
    for token, workspace in ((ALICE, None), (BOB, OTHERS), (BOB, None)):
        status, refusal = await ask(site, token, workspace, containerImage=private)
        assert status == 400, refusal
        assert "cannot be accessed" in refusal["message"]
    name = answer["targetImage"].partition("/wt/")[2]
    status, _ = await site.swell.read(f"/v2/wt/{name.partition(':')[0]}/manifests/{FORMS[0]}")
    assert status == 200
