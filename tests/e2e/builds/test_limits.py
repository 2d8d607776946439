"""Limits and identity as clients see them, with two gateways of one operator."""

import base64
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import aiohttp
import pytest

from gateway.adapters.access.api_keys import ApiKey, hash_of, new_key
from gateway.commands.keys import entry_of
from swell.oci.digest import digest_of
from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.busybox import REPOSITORY
from tests.e2e.client import Swell, client_of
from tests.e2e.environment import of_this_machine
from tests.e2e.upstreams import Upstreams, running

KEY = new_key()


@pytest.fixture(scope="module")
async def gateways(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Swell]]:
    """Clients of two gateways with small limits for anonymous clients and an API key for Ada."""
    home = tmp_path_factory.mktemp("limited")
    (home / "keys.toml").write_text(entry_of(ApiKey(hash=hash_of(KEY), user="ada")))
    limits = {"PULL": "100/1h", "BUILD": "100/1h", "ANONYMOUS_PULL": "10/1h", "ANONYMOUS_BUILD": "2/1h"}
    settings = {f"SWELL_{name}_LIMIT": text for name, text in limits.items()}
    async with AsyncExitStack() as opened:
        clients = []
        for name in ("one", "two"):
            url = f"http://localhost:{(port := Ports.free().gateway)}"
            addresses = {"SWELL_LISTEN": f"127.0.0.1:{port}", "SWELL_SERVER_URL": url}
            program = Program(
                name=name,
                command=(sys.executable, "-m", "gateway"),
                environment=of_this_machine()
                | stack.env
                | settings
                | addresses
                | {"SWELL_API_KEYS_FILE": str(home / "keys.toml")},
                ready=probes.http(f"{url}/health"),
            )
            await opened.enter_async_context(running(program, home))
            clients.append(await opened.enter_async_context(client_of(url)))
        yield clients


async def ask(url: str, method: str = "GET") -> tuple[int, Mapping[str, str], bytes]:
    async with aiohttp.request(method, url, allow_redirects=False) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_gateways_share_one_limit_of_pulls(gateways: list[Swell], upstreams: Upstreams) -> None:
    """The load balancer chooses the gateway. A client can always finish a pull that it has started."""
    answer = await gateways[0].submit(containerImage=upstreams.image())
    urls = [f"{each.url}/v2/wt/{answer['containerToken']}/{REPOSITORY}/manifests/docker" for each in gateways]

    answers = [await ask(urls[turn % 2]) for turn in range(14)]

    assert [status for status, _, _ in answers] == [200] * 10 + [429] * 4
    _, headers, body = answers[-1]
    assert 1 <= int(headers["Retry-After"]) <= 360
    assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("10", "0")
    assert b"TOOMANYREQUESTS" in body
    assert b"the pull limit of 10/1h for address 127.0.0.1 is used up" in body
    assert (await ask(urls[0], "HEAD"))[0] == 200
    config = digest_of(answers[0][2])
    assert (await ask(urls[0].replace("manifests/docker", f"blobs/{config}")))[0] != 429


@pytest.mark.row("T17")
async def test_a_user_has_their_own_limits(gateways: list[Swell], upstreams: Upstreams) -> None:
    """Compute nodes pull with the user's image name and count for the user."""
    platform = "https://api.cloud.seqera.io"  # clients send this endpoint with every token
    answer = await gateways[0].submit(containerImage=upstreams.image(), towerAccessToken=KEY, towerEndpoint=platform)
    url = f"{gateways[1].url}/v2/wt/{answer['containerToken']}/{REPOSITORY}/manifests/docker"

    assert {(await ask(url))[0] for _ in range(20)} == {200}


async def test_only_builds_that_are_queued_count_e27(gateways: list[Swell], upstreams: Upstreams) -> None:
    """Repeated requests are not counted. The third new build is refused, and the message names the limit and the
    client.
    """
    files = [f"FROM {upstreams.image()}\nENV NUMBER={number}\n" for number in range(3)]
    for turn in range(6):
        await gateways[turn % 2].build(files[turn % 2])
    build = {"containerFile": _encoded(files[2])}

    status, refused = await gateways[0].post(**build)

    assert (status, refused["code"]) == (429, "TOOMANYREQUESTS")
    assert "the build limit of 2/1h for address 127.0.0.1 is used up" in refused["message"]
    assert (await gateways[0].post(**build, towerAccessToken=KEY))[0] == 200


async def test_an_unknown_access_token_is_refused(gateways: list[Swell], upstreams: Upstreams) -> None:
    """The status is 401 with a message. An empty token, or an endpoint alone, is an anonymous request."""
    image = upstreams.image()
    status, answer = await gateways[0].post(containerImage=image, towerAccessToken="swell_another")

    assert (status, answer["message"]) == (401, "the access token is not known here")
    for nothing in ({"towerAccessToken": ""}, {"towerEndpoint": "https://platform.example.org/api"}):
        assert (await gateways[0].post(containerImage=image, **nothing))[0] == 200


def _encoded(containerfile: str) -> str:
    return base64.b64encode(containerfile.encode()).decode()
