"""Inspecting images and validating credentials through the HTTP API, with requests as Wave's clients send them."""

from typing import Any

import aiohttp
import pytest

from swell_embedded.ports import Ports
from tests.e2e.busybox import FORMS, REPOSITORY, document_of, make_base
from tests.e2e.client import Swell
from tests.e2e.upstreams import PASSWORD, USER, Upstreams, image_of

INSPECT = "/v1alpha1/inspect"
CREDENTIALS = "/v1alpha2/validate-creds"


async def send(swell: Swell, path: str, body: Any) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(swell.url + path, json=body) as response:
        return response.status, await response.json()


def pick(answer: Any, *names: str) -> tuple[Any, ...]:
    return tuple(answer[name] for name in names)


@pytest.mark.parametrize("kind", ["open", "basic", "bearer"])
async def test_inspect_returns_the_config_and_manifest_of_an_image(
    swell: Swell, upstreams: Upstreams, kind: str
) -> None:
    """Private registries work with the operator's credentials. Null and unknown identity members change nothing."""
    registry, base = getattr(upstreams, kind), make_base("amd64", docker=False)
    body = {"containerImage": image_of(registry, "oci"), "towerAccessToken": None, "towerEndpoint": "https://x.test"}

    status, answer = await send(swell, INSPECT, body)

    assert (status, answer.keys()) == (200, {"container"})
    container = answer["container"]
    assert pick(container, "registry", "hostName", "imageName") == (registry, f"http://{registry}", REPOSITORY)
    assert pick(container, "reference", "digest") == ("oci", base.manifest.digest)
    assert container["manifest"] == base.manifest.fields
    assert container["config"]["config"]["env"] == base.config.fields["config"]["Env"]
    assert pick(container, "v1", "v2", "oci") == (False, True, True)


@pytest.mark.parametrize("form", ["docker-list", "oci-index"])
async def test_inspect_returns_an_index_or_the_image_of_one_platform(
    swell: Swell, upstreams: Upstreams, form: str
) -> None:
    """`platform` selects one image; an unknown platform is refused with those that exist."""
    index, twin = document_of(form), make_base("arm64", docker=form == "docker-list")
    body = {"containerImage": upstreams.image(form)}

    whole = await send(swell, INSPECT, body)
    chosen = await send(swell, f"{INSPECT}?platform=linux/arm64", body)
    status, refusal = await send(swell, f"{INSPECT}?platform=linux/arm/v7", body)

    assert whole == (200, {"index": {**index.fields, "digest": index.digest}})
    assert chosen[1]["container"]["digest"] == twin.manifest.digest
    assert (status, "linux/amd64" in refusal["message"]) == (400, True)


@pytest.mark.parametrize(
    ("body", "query", "status", "words"),
    [
        ({}, "", 400, "containerImage is required"),
        (None, "", 400, ""),
        ({"containerImage": "a"}, "?platform=amd64,arm64", 400, "Only one platform is allowed here"),
        ({"containerImage": "a"}, "?platform=sparc", 400, "sparc"),
        ({"containerImage": "no such/Name"}, "", 400, "no image name"),
        ({"containerImage": "169.254.169.254/a/b"}, "", 400, "must not connect"),
    ],
)
async def test_an_invalid_inspection_is_refused_with_a_reason(
    swell: Swell, body: Any, query: str, status: int, words: str
) -> None:
    """A malformed request must not look like a failure of the server."""
    answered, answer = await send(swell, INSPECT + query, body)

    assert answered == status
    assert words in answer["message"]


async def test_missing_forbidden_and_unreachable_images_have_different_errors(
    swell: Swell, upstreams: Upstreams
) -> None:
    """Clients act on the status. The body of the registry's response is not passed on."""
    absent = await send(swell, INSPECT, {"containerImage": upstreams.image("none")})
    hidden = await send(swell, INSPECT, {"containerImage": image_of(upstreams.mistaken, FORMS[0])})
    unresolved = await send(swell, INSPECT, {"containerImage": image_of("registry.invalid")})
    refused = await send(swell, INSPECT, {"containerImage": image_of(f"localhost:{Ports.free().registry}")})

    assert (absent[0], absent[1]["code"]) == (404, "MANIFEST_UNKNOWN")
    assert (hidden[0], hidden[1]["code"]) == (403, "DENIED")
    assert (unresolved[0], unresolved[1]["code"]) == (502, "UPSTREAM_FAILED")
    assert (refused[0], refused[1]["code"]) == (400, "ADDRESS_FORBIDDEN")
    assert f"{REPOSITORY}:none" in absent[1]["message"]


@pytest.mark.parametrize("wrapped", [False, True])
async def test_validating_credentials_returns_true_or_false(swell: Swell, upstreams: Upstreams, wrapped: bool) -> None:
    """The old and the new path return a bare boolean. A path after the registry's host is ignored."""

    async def valid(password: str) -> tuple[int, Any]:
        body = {"userName": USER, "password": password, "registry": f"{upstreams.bearer}/team"}
        return await send(swell, *(("/validate-creds", {"request": body}) if wrapped else (CREDENTIALS, body)))

    assert await valid(PASSWORD) == (200, True)
    assert await valid("guess") == (200, False)


@pytest.mark.parametrize("name", ["userName", "password", "registry"])
async def test_credentials_must_be_complete(swell: Swell, name: str) -> None:
    """An empty name, password or registry is refused before any request to a registry."""
    body = {"userName": USER, "password": PASSWORD, "registry": "quay.io"}

    for path, sent in ((CREDENTIALS, body | {name: " "}), ("/validate-creds", {"request": body | {name: None}})):
        status, answer = await send(swell, path, sent)
        assert (status, answer["message"]) == (400, f"{name} is required")


@pytest.mark.parametrize("registry", ["127.0.0.1", "localhost", "[::1]:5000", "http://169.254.169.254/latest"])
async def test_credentials_are_not_sent_to_a_forbidden_address(swell: Swell, registry: str) -> None:
    """The endpoint must not let clients reach private addresses."""
    status, answer = await send(swell, CREDENTIALS, {"userName": "u", "password": "p", "registry": registry})

    assert (status, answer["code"]) == (400, "ADDRESS_FORBIDDEN")
