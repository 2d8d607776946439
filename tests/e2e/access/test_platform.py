"""Users of a Seqera Platform: who they are, and what the credentials of their workspaces open.

The Platform is a stand-in, a program of its own (`tests/platform`); its private registry is a real one.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from swell_embedded.stack import Stack
from tests.e2e.busybox import FORMS
from tests.e2e.client import PLAIN, Swell, client_of, encoded, until
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
from tests.e2e.secrets_used import secret
from tests.e2e.stacks import OpenStack
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
            own = container_registry(upstreams, upstreams.basic)
            pushes = own | {"id": "open", "registry": upstreams.open}
            await platform.knows(credentials={f"/{WORKSPACE}": [own, pushes], f"/{OTHERS}": []})
            await platform.pair(stack.url)
            yield Site(stack, swell, platform)


async def ask(
    site: Site, token: str, workspace: int | None = None, *, path: str = "/v1alpha2/container", **request: Any
) -> tuple[int, dict[str, Any]]:
    members = {"towerAccessToken": token, "towerEndpoint": site.platform.endpoint}
    return await site.swell.post(path, **request, **members, **({"towerWorkspaceId": workspace} if workspace else {}))


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


@pytest.mark.row("I12")
async def test_an_expired_token_is_renewed_with_the_refresh_token(site: Site, upstreams: Upstreams) -> None:
    """The Platform gives the new tokens in cookies. Without its refresh token, the old token opens nothing."""
    token, refresh = secret("token", "token-that-expires-1"), secret("refresh token", "refresh-token-of-alice")
    await site.platform.knows(refresh_tokens={refresh: "alice"})
    private = {"containerImage": image_of(upstreams.basic)}

    for _ in range(2):  # the second request uses the stored session
        status, answer = await ask(site, token, WORKSPACE, towerRefreshToken=refresh, **private)
        assert status == 200, answer
    status, answer = await ask(site, token, WORKSPACE, **private)

    assert (status, answer["code"]) == (401, "UNAUTHORIZED"), answer
    assert [each["url"] for each in await site.platform.requests()].count("/oauth/access_token") == 1


async def test_a_session_that_cannot_be_renewed_is_412(site: Site, upstreams: Upstreams) -> None:
    """The Platform does not know the refresh token; the user has to sign in there again."""
    token, refresh = secret("token", "token-that-expires-2"), secret("refresh token", "refresh-token-that-expired")

    status, answer = await ask(site, token, WORKSPACE, towerRefreshToken=refresh, containerImage=upstreams.image())

    assert status == 412, answer


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


@pytest.mark.row("I5")
async def test_the_workspace_credentials_open_a_private_image(site: Site, upstreams: Upstreams) -> None:
    """Alice's workspace has a login for the registry; without the workspace, or as another user, the pull has no login.

    The refusals come after the success, so the caches of all services are full: of resolved images, readable images,
    manifests, tags, registry tokens and challenges.
    """
    private = image_of(upstreams.basic)

    status, answer = await ask(site, ALICE, WORKSPACE, containerImage=private)
    assert status == 200, answer
    manifest, config, layer = await pull(site, answer)
    assert manifest["config"]["digest"].startswith("sha256:")
    assert config
    assert layer
    for token, workspace in ((ALICE, None), (BOB, OTHERS), (BOB, None)):
        status, refusal = await ask(site, token, workspace, containerImage=private)
        assert status == 400, refusal
        assert "cannot be accessed" in refusal["message"]


async def test_the_workspace_credentials_serve_inspections(site: Site, upstreams: Upstreams) -> None:
    """Of images only; the job has the principal, not the password."""
    private = {"containerImage": image_of(upstreams.basic)}

    assert (await ask(site, ALICE, WORKSPACE, path="/v1alpha1/inspect", **private))[0] == 200
    assert (await ask(site, BOB, OTHERS, path="/v1alpha1/inspect", **private))[0] >= 400


async def test_the_workspace_credentials_serve_builds(site: Site, upstreams: Upstreams) -> None:
    """The base image is read by the build engine; the finished build is not for users without its base image."""
    private = image_of(upstreams.basic)
    recipe = encoded(f"FROM {private}\nRUN echo built > /file\n")

    status, answer = await ask(site, ALICE, WORKSPACE, containerFile=recipe)
    assert status == 200, answer
    assert (await site.swell.ended(answer["buildId"]))["succeeded"], await site.swell.log(answer["buildId"])
    await pull(site, answer)
    assert (await ask(site, ALICE, WORKSPACE, containerFile=recipe))[1]["cached"]
    status, refusal = await ask(site, BOB, OTHERS, containerFile=recipe)
    assert status == 400, refusal
    status, refusal = await ask(site, BOB, OTHERS, containerImage=answer["containerImage"])
    assert status == 403, refusal


async def test_the_workspace_credentials_serve_pushes(site: Site, upstreams: Upstreams) -> None:
    """A build goes to a repository that the workspace has a login for; without one, the request is refused."""
    repository = f"{upstreams.basic}/alice/built"
    recipe = {"containerFile": encoded(f"FROM {upstreams.image()}\nLABEL a=1\n"), "buildRepository": repository}

    status, answer = await ask(site, ALICE, WORKSPACE, **recipe)
    assert status == 200, answer
    assert (await site.swell.ended(answer["buildId"]))["succeeded"], await site.swell.log(answer["buildId"])
    await pull(site, answer)
    for token, workspace in ((ALICE, None), (BOB, OTHERS)):
        status, refusal = await ask(site, token, workspace, **recipe)
        assert (status, refusal["code"]) == (403, "SCOPE_REQUIRED"), refusal


async def test_the_workspace_credentials_serve_mirrors(site: Site, upstreams: Upstreams) -> None:
    """Source and target are opened by them; another user's mirror to the same target is refused."""
    request = {"images": [image_of(upstreams.basic)], "buildRepository": f"{upstreams.open}/alice/mirrors"}
    status, answer = await ask(site, ALICE, WORKSPACE, path="/v1alpha1/mirrors", **request)
    assert status == 200, answer

    async def copied() -> dict[str, Any] | None:
        _, record = await site.swell.get(f"/v1alpha1/mirrors/{answer['mirrorId']}")
        return record if record["status"] == "COMPLETED" else None

    assert (await until(copied))["exitCode"] == 0
    status, refusal = await ask(site, BOB, OTHERS, path="/v1alpha1/mirrors", **request)
    assert (status, refusal["code"]) == (403, "SCOPE_REQUIRED"), refusal


async def test_the_workspace_credentials_serve_scans(site: Site, upstreams: Upstreams) -> None:
    """The scanner reads the image with them, after the request."""
    status, answer = await ask(site, ALICE, WORKSPACE, containerImage=image_of(upstreams.basic), scanMode="async")
    assert status == 200, answer

    async def scanned() -> dict[str, Any] | None:
        _, record = await site.swell.get(f"/v1alpha1/scans/{answer['scanId']}")
        return record if record.get("status") not in {None, "PENDING"} else None

    assert (await until(scanned, seconds=120))["status"] == "SUCCEEDED"


@pytest.mark.full
async def test_a_withdrawn_credential_stops_working(site: Site, upstreams: Upstreams) -> None:
    """Within a minute, for requests and for the blobs of a token that exists."""
    private = image_of(upstreams.basic, FORMS[1])
    status, answer = await ask(site, ALICE, WORKSPACE, containerImage=private)
    assert status == 200
    digest = (await pull(site, answer))[0]["layers"][0]["digest"]
    await site.platform.knows(tokens={BOB: "bob"})
    path = f"/v2/{answer['targetImage'].partition('/')[2].rpartition(':')[0]}/blobs/{digest}"

    async def refused() -> bool:
        submitted, _ = await ask(site, ALICE, WORKSPACE, containerImage=private)
        pulled, _ = await site.swell.read(path)
        return submitted == 401 and pulled >= 400

    try:
        await until(refused, seconds=70)
    finally:
        await site.platform.knows(tokens={ALICE: "alice", BOB: "bob"})


async def pull(site: Site, answer: dict[str, Any]) -> tuple[dict[str, Any], bytes, bytes]:
    """Pull the image of *answer*: its manifest, its config, and its first layer."""
    name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    manifest = json.loads(await site.swell.bytes(f"/v2/{name}/manifests/{tag}"))
    if "manifests" in manifest:
        manifest = json.loads(await site.swell.bytes(f"/v2/{name}/manifests/{manifest['manifests'][0]['digest']}"))
    config = await site.swell.bytes(f"/v2/{name}/blobs/{manifest['config']['digest']}")
    return manifest, config, await site.swell.bytes(f"/v2/{name}/blobs/{manifest['layers'][0]['digest']}")
