"""A token opens one image, and nothing after it is revoked, even after failures."""

import asyncio
import json
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import bcrypt
import pytest

from gateway.adapters.access.confirmed_cache import FRESH, STALE, TIMEOUT
from swell.oci.document import Document
from swell.store.connections import redis
from swell_embedded.ports import Ports
from swell_embedded.processes.child import Child
from swell_embedded.stack import Stack
from tests.e2e.busybox import REPOSITORY, archive, make_base, push
from tests.e2e.client import Swell, client_of, until
from tests.e2e.environment import gateway_beside, proxy_beside
from tests.e2e.raw import LOGIN, Answer, ask
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import CountingProxy, Upstreams, open_counting_proxy, running

ADDED = {"env": ["ADDED=yes"]}


@pytest.fixture(scope="module")
async def fragile(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack whose processes tests kill."""
    async with new_stack(tmp_path_factory.mktemp("fragile")) as opened:
        yield opened


@pytest.mark.parametrize("config", [None, ADDED])
async def test_a_token_opens_its_image_and_nothing_beside_it(
    swell: Swell, upstreams: Upstreams, config: dict[str, Any] | None
) -> None:
    """Other tags, digests, names and blobs of the repository stay closed, although the registry has them (S-2)."""
    other = await push(f"{upstreams.open}/acme/secret:1", archive({"secret": b"secret"}), Cmd=["true"])
    secret = await manifest_of(swell, await swell.submit(containerImage=other))
    other_image = make_base("arm64", docker=False)
    answer = await swell.submit(containerImage=upstreams.image("docker"), containerConfig=config)
    image = f"/v2/wt/{answer['containerToken']}"
    assert (await ask(swell, "GET", f"{image}/{REPOSITORY}/manifests/docker")).status == 200

    foreign = [f"{REPOSITORY}/manifests/{reference}" for reference in ("oci", "latest", other_image.manifest.digest)]
    foreign += [f"{REPOSITORY}/blobs/{digest}" for digest in (other_image.config.digest, secret.layers[0].digest)]
    foreign += ["acme/secret/manifests/1", f"acme/secret/manifests/{secret.digest}", "library/manifests/docker"]
    foreign += [f"acme/secret/blobs/{secret.config.digest}", f"acme/secret/blobs/{secret.layers[0].digest}"]
    for path in foreign:
        for method in ("GET", "HEAD"):
            assert (await ask(swell, method, f"{image}/{path}")).status == 404, path
    assert (await ask(swell, "GET", f"{image}/acme/secret/tags/list")).status == 404


async def test_revoking_a_token_deletes_its_documents(fragile: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """Its manifests show how a client changed an image."""
    async with AsyncExitStack() as opened:
        (swell,) = await operated(opened, fragile, tmp_path, "one")
        state = await opened.enter_async_context(redis.connect(fragile.env["SWELL_REDIS_URL"]))
        answer = await swell.submit(containerImage=upstreams.image(), containerConfig=ADDED)
        token = answer["containerToken"]
        await manifest_of(swell, answer)
        assert await state.exists(f"swell:image:{token}")

        assert (await ask(swell, "DELETE", f"/container-token/{token}", None, **LOGIN)).status == 200

        async def is_gone() -> bool:
            return not await state.exists(f"swell:image:{token}")

        await until(is_gone)


async def test_links_of_a_revoked_token_stop_working_at_all_replicas(
    fragile: Stack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """A link is checked without a call to another service. Links of another token to the same blob keep working."""
    async with AsyncExitStack() as opened:
        (swell,) = await operated(opened, fragile, tmp_path, "one")
        data = f"http://127.0.0.1:{Ports.free().data}"
        _, second = proxy_beside(fragile, "second", DATA_LISTEN=data.removeprefix("http://"))
        await opened.enter_async_context(running(second, tmp_path))
        mine, others = [await swell.submit(containerImage=upstreams.image()) for _ in range(2)]
        layer = (await manifest_of(swell, mine)).layers[0].digest
        links = [await link_to(swell, answer, layer) for answer in (mine, others)]
        everywhere = [base + link for base in (fragile.env["SWELL_DATA_URL"], data) for link in links]
        assert await statuses(everywhere) == [200] * 4

        assert (await ask(swell, "DELETE", f"/container-token/{mine['containerToken']}", None, **LOGIN)).status == 200

        async def are_closed() -> bool:
            return await statuses(everywhere) == [403, 200, 403, 200]

        await until(are_closed, seconds=5)


async def test_a_revocation_takes_effect_without_the_message_queue(
    fragile: Stack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The queue is unavailable at that moment. The other gateway reads the revocation from Redis some seconds later.

    When the queue is back, messages arrive at once again without any repair.
    """
    async with AsyncExitStack() as opened:
        one, two = await operated(opened, fragile, tmp_path, "one", "two")
        answer = await one.submit(containerImage=upstreams.image())
        path = path_of(answer)
        for gateway in (one, two):
            assert (await ask(gateway, "GET", path)).status == 200
        fragile.kill("nats")
        try:
            revoking = asyncio.create_task(
                ask(one, "DELETE", f"/container-token/{answer['containerToken']}", None, **LOGIN)
            )

            async def is_closed() -> bool:
                return (await ask(two, "GET", path)).status == 404

            await until(is_closed, seconds=STALE + 20)  # tolerance for a busy machine
            assert (await revoking).status == 200
            assert (await ask(one, "GET", path)).status == 404
        finally:
            await fragile.restart("nats")

        async def all_hear() -> bool:
            answers = [(await ask(each, "GET", "/health")).json for each in (one, two)]
            return not any(each.get("degraded") for each in answers)

        await until(all_hear)
        again = await one.submit(containerImage=upstreams.image())
        path = path_of(again)
        assert (await ask(two, "GET", path)).status == 200
        assert (await ask(one, "DELETE", f"/container-token/{again['containerToken']}", None, **LOGIN)).status == 200
        await until(is_closed, seconds=FRESH - 1)  # before the gateway reads the grant again


async def test_cached_images_can_be_pulled_without_redis(fragile: Stack, upstreams: Upstreams) -> None:
    """Other pulls get 503 with Retry-After and a code of the specification. Recovery needs no action."""
    async with client_of(fragile.url) as swell:
        warm = await swell.submit(containerImage=upstreams.image(), containerConfig=ADDED)
        cold = await swell.submit(containerImage=upstreams.image())
        document = await manifest_of(swell, warm)
        blob = path_of(warm).replace("manifests/docker", f"blobs/{document.config.digest}")
        assert (await ask(swell, "HEAD", blob)).status == 200
        fragile.kill("redis")
        try:
            for method, path, expected in (("GET", path_of(warm), 200), ("GET", blob, 307), ("HEAD", blob, 200)):
                assert (await ask(swell, method, path)).status == expected
            for path in (path_of(cold), path_of(warm).replace("docker", document.config.digest)):
                refused_for_now(await ask(swell, "GET", path))
            refused_for_now(await ask(swell, "GET", f"/v2/wt/{26 * 'z'}/{REPOSITORY}/tags/list"))
        finally:
            await fragile.restart("redis")

        async def is_open() -> bool:
            return (await ask(swell, "GET", path_of(cold))).status == 200

        await until(is_open)


async def test_cached_pulls_do_not_wait_for_a_hanging_redis(fragile: Stack, upstreams: Upstreams) -> None:
    """A fresh grant needs no lookup; a lookup of an older grant has a short deadline."""
    async with client_of(fragile.url) as swell:
        path = path_of(await swell.submit(containerImage=upstreams.image()))
        assert (await ask(swell, "GET", path)).status == 200
        fragile.kill("redis", signal.SIGSTOP)
        try:
            deadline, seconds = time.monotonic() + STALE + 3, []
            while time.monotonic() < deadline:
                started = time.monotonic()
                assert (await ask(swell, "GET", path)).status == 200
                seconds.append(time.monotonic() - started)
                await asyncio.sleep(0.2)
        finally:
            fragile.kill("redis", signal.SIGCONT)

    assert max(seconds) < TIMEOUT + 4  # a busy machine; the timeout of Redis is longer
    assert median(seconds) < TIMEOUT


async def test_two_hundred_clients_of_three_replicas_cost_the_upstream_one_pull(
    stack: Stack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """A pipeline starts two hundred tasks at once. Each manifest and config is fetched only once."""
    async with AsyncExitStack() as opened:
        counted = await opened.enter_async_context(open_counting_proxy(upstreams.open))
        gateways = [swell for swell, _ in await replicas(opened, stack, counted, tmp_path, "one", "two", "three")]
        for form, config in (("oci-index", ADDED), ("docker-list", None)):
            answer = await gateways[0].submit(
                containerImage=f"{counted.authority}/{REPOSITORY}:{form}", containerConfig=config
            )
            counted.requests.clear()

            index = Document("", await by_all(gateways, path_of(answer)))
            for entry in index.manifests:
                await by_all(gateways, path_of(answer).replace(form, entry.digest))

            documents = [digest for digest in counted.requests if "GET" in digest]
            # The config of an augmented image is read as well. One replica has read one document for the POST.
            assert len(documents) in {"oci-index": (3, 4), "docker-list": (2, 3)}[form]
            assert set(counted.requests.values()) == {1}


async def test_another_replica_takes_over_the_pull_of_a_dead_one(
    stack: Stack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Other replicas wait while it lives, and for the rest of its lease. The first replica has read nothing yet."""
    async with AsyncExitStack() as opened:
        counted = await opened.enter_async_context(open_counting_proxy(upstreams.open))
        (swell, proxy), (other, _) = await replicas(opened, stack, counted, tmp_path, "one", "two")
        answer = await other.submit(containerImage=f"{counted.authority}/{REPOSITORY}:oci", containerConfig=ADDED)
        counted.requests.clear()
        counted.unanswered = 1
        lost = asyncio.create_task(ask(swell, "GET", path_of(answer)))

        async def is_asked() -> bool:
            return bool(counted.requests)

        await until(is_asked)
        waiting = asyncio.create_task(ask(other, "GET", path_of(answer)))
        done, _ = await asyncio.wait([waiting], timeout=4)  # longer than a lease that is not renewed
        assert not done
        proxy.send(signal.SIGKILL)

        assert (await asyncio.wait_for(waiting, 60)).status == 200
        lost.cancel()
        await asyncio.wait([lost])


async def by_all(gateways: list[Swell], path: str, clients: int = 200) -> bytes:
    """Return what all *clients* receive for *path* at the same time; it must be equal."""
    answers = await asyncio.gather(*(gateways[number % len(gateways)].bytes(path) for number in range(clients)))
    (content,) = set(answers)
    return content


async def replicas(
    opened: AsyncExitStack, stack: Stack, counted: CountingProxy, home: Path, *names: str
) -> list[tuple[Swell, Child]]:
    """Start gateways, each with its own registry-proxy that may connect to *counted*."""
    started = []
    for name in names:
        where, proxy = proxy_beside(stack, f"proxy-{name}", ALLOWED_HOSTS=counted.authority)
        url, gateway = gateway_beside(stack, f"gateway-{name}", REGISTRY_PROXY=where)
        child = await opened.enter_async_context(running(proxy, home))
        await opened.enter_async_context(running(gateway, home))
        started.append((await opened.enter_async_context(client_of(url)), child))
    return started


async def operated(opened: AsyncExitStack, stack: Stack, home: Path, *names: str) -> list[Swell]:
    """Start gateways of *stack* with the account of `LOGIN`."""
    (home / "accounts").write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    clients = []
    for name in names:
        url, program = gateway_beside(stack, name, ACCOUNTS_FILE=str(home / "accounts"))
        await opened.enter_async_context(running(program, home))
        clients.append(await opened.enter_async_context(client_of(url)))
    return clients


def path_of(answer: dict[str, Any]) -> str:
    """Return the path of the manifest of *answer*'s image, by its tag."""
    repository, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    return f"/v2/{repository}/manifests/{tag}"


async def manifest_of(swell: Swell, answer: dict[str, Any]) -> Document:
    return Document("", await swell.bytes(path_of(answer)))


async def link_to(swell: Swell, answer: dict[str, Any], digest: str) -> str:
    """Return the path at the data port to which a blob of *answer*'s image is redirected."""
    response = await ask(swell, "GET", f"{path_of(answer).rpartition('/manifests/')[0]}/blobs/{digest}")
    return urlsplit(str(response.headers["Location"])).path


async def statuses(urls: list[str]) -> list[int]:
    async with aiohttp.ClientSession() as client:
        return [(await client.head(url)).status for url in urls]


def refused_for_now(answer: Answer) -> None:
    assert (answer.status, answer.headers["Content-Type"]) == (503, "application/json")
    assert int(answer.headers["Retry-After"]) >= 1
    assert {error["code"] for error in json.loads(answer.body)["errors"]} == {"UNKNOWN"}
