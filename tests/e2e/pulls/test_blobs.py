"""Blobs through redirects and through a relay: complete, in ranges, for many and for slow clients."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256
from pathlib import Path

import aiohttp
import pytest
from msgspec import Struct

from gateway.adapters.registry_proxy.data_port import PIECE
from swell.testing.images import Layer
from swell_embedded.processes.child import Child
from swell_embedded.stack import Stack
from tests.e2e.busybox import archive, push
from tests.e2e.client import Swell, as_data, client_of
from tests.e2e.engines import Engine
from tests.e2e.environment import gateway_beside, proxy_beside
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running

TOOL = archive({"opt/tool": b"#!/bin/sh\necho relayed\n"})
BIG = 192 << 20  # bytes
SLOW_READERS = 16
PIECES_OF_READER = 4  # one is read, one is queued, one is written, and freed memory is not always returned


class Relaying(Struct, frozen=True):
    """A gateway that relays blobs; the stack's own gateway redirects."""

    swell: Swell
    process: Child


@pytest.fixture(scope="module")
async def relaying(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Relaying]:
    url, program = gateway_beside(stack, "relaying", BLOB_DELIVERY="relay")
    async with running(program, tmp_path_factory.mktemp("relaying")) as process, client_of(url) as client:
        yield Relaying(client, process)


@pytest.fixture(scope="module")
async def big(upstreams: Upstreams) -> str:
    """An image with one layer of `BIG` bytes."""
    content = sha256(b"big").digest() * (BIG // 32)
    return await push(f"{upstreams.open}/library/big:1", Layer(content, content))


class Blobs(Struct, frozen=True):
    """URLs of the config and the last layer of an image at one gateway, and the digest of the layer."""

    config: str
    layer: str
    digest: str


async def submitted(swell: Swell, **request: object) -> Blobs:
    answer = await swell.submit(**request)
    name, _, tag = answer["targetImage"].partition("/")[2].rpartition(":")
    manifest = json.loads(await swell.bytes(f"/v2/{name}/manifests/{tag}"))
    blobs = f"{swell.url}/v2/{name}/blobs"
    layer = manifest["layers"][-1]["digest"]
    return Blobs(f"{blobs}/{manifest['config']['digest']}", f"{blobs}/{layer}", layer)


async def ask(
    url: str, method: str = "GET", *, follow: bool = True, **headers: str
) -> tuple[int, Mapping[str, str], bytes]:
    """Send one request on a new connection and return the response."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.request(method, url, allow_redirects=follow, headers=named) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_a_relayed_image_is_pulled_and_runs(relaying: Relaying, upstreams: Upstreams, engine: Engine) -> None:
    """The base comes from a registry, the layer from S3, the config from memory: all through one address."""
    config = {"entrypoint": ["/opt/tool"], "layers": [as_data(TOOL)]}
    answer = await relaying.swell.submit(containerImage=upstreams.image(), containerConfig=config)

    assert (await engine.run(answer["targetImage"])).strip() == "relayed"


async def test_a_relay_never_redirects(relaying: Relaying, upstreams: Upstreams) -> None:
    """Clients of a relay can reach no other address."""
    blobs = await submitted(relaying.swell, containerImage=upstreams.image(), containerConfig={"env": ["A=b"]})

    for url in (blobs.config, blobs.layer):
        status, headers, body = await ask(url, follow=False)
        assert (status, headers["Content-Length"]) == (200, str(len(body)))
        assert f"sha256:{sha256(body).hexdigest()}" == url.rpartition("/")[2] == headers["Docker-Content-Digest"]


@pytest.fixture
async def sending(stack: Stack, tmp_path: Path) -> AsyncIterator[Swell]:
    """A gateway and a registry-proxy of the stack whose clients can reach the object store."""
    where, proxy = proxy_beside(stack, "proxy-sending", S3_PUBLIC_ENDPOINT=stack.env["SWELL_S3_ENDPOINT"])
    url, gateway = gateway_beside(stack, "gateway-sending", REGISTRY_PROXY=where)
    async with running(proxy, tmp_path), running(gateway, tmp_path), client_of(url) as client:
        yield client


async def location(blob: str) -> str:
    return (await ask(blob, follow=False))[1]["Location"]


async def test_clients_that_reach_the_store_are_redirected_there(
    stack: Stack, sending: Swell, upstreams: Upstreams, engine: Engine
) -> None:
    """Added layers are in the store from the start. The config that Swell makes is not, so the data port sends it."""
    config = {"entrypoint": ["/opt/tool"], "layers": [as_data(TOOL)]}
    blobs = await submitted(sending, containerImage=upstreams.image(), containerConfig=config)

    assert (await location(blobs.layer)).startswith(stack.env["SWELL_S3_ENDPOINT"])
    assert not (await location(blobs.config)).startswith(stack.env["SWELL_S3_ENDPOINT"])
    _, _, whole = await ask(blobs.layer)
    status, _, body = await ask(blobs.layer, Range="bytes=5-14")
    assert (status, body) == (206, whole[5:15])
    answer = await sending.submit(containerImage=upstreams.image(), containerConfig=config)
    assert (await engine.run(answer["targetImage"])).strip() == "relayed"


async def test_a_pulled_blob_is_stored_and_later_clients_are_redirected_to_it(
    stack: Stack, sending: Swell, upstreams: Upstreams
) -> None:
    """The first pull stores the blob while it sends it; later clients read it from the store."""
    await ask((await submitted(sending, containerImage=upstreams.image())).layer)

    async with asyncio.timeout(60):
        while True:
            blobs = await submitted(sending, containerImage=upstreams.image())
            if (await location(blobs.layer)).startswith(stack.env["SWELL_S3_ENDPOINT"]):
                break
            await asyncio.sleep(0.1)
    assert f"sha256:{sha256((await ask(blobs.layer))[2]).hexdigest()}" == blobs.digest


@pytest.mark.parametrize("delivery", ["redirect", "relay"])
async def test_head_ranges_and_conditions_work_with_redirects_and_relays(
    swell: Swell, relaying: Relaying, upstreams: Upstreams, delivery: str
) -> None:
    """A relay passes on the responses of the data port. Errors have the codes of the specification in both cases."""
    blobs = await submitted(swell if delivery == "redirect" else relaying.swell, containerImage=upstreams.image())
    _, _, whole = await ask(blobs.layer)

    status, headers, body = await ask(blobs.layer, "HEAD")
    assert (status, headers["Content-Length"], body) == (200, str(len(whole)), b"")
    status, headers, body = await ask(blobs.layer, Range="bytes=5-14")
    assert (status, headers["Content-Range"], body) == (206, f"bytes 5-14/{len(whole)}", whole[5:15])
    assert (await ask(blobs.layer, If_None_Match=f'"{blobs.digest}"'))[0] == 304
    status, headers, body = await ask(blobs.layer, Range=f"bytes={len(whole)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(whole)}")
    assert json.loads(body)["errors"][0]["code"] == "UNKNOWN"


@pytest.mark.parametrize("delivery", ["redirect", "relay"])
async def test_a_client_resumes_a_broken_download_with_a_range(
    swell: Swell, relaying: Relaying, big: str, delivery: str
) -> None:
    """containerd does this at once, Docker after some seconds: they request `bytes=N-`."""
    blobs = await submitted(swell if delivery == "redirect" else relaying.swell, containerImage=big)
    held = sha256()
    async with aiohttp.ClientSession() as client, client.get(blobs.layer) as answer:
        held.update(await answer.content.readexactly(BIG // 3))
        answer.close()

    status, headers, rest = await ask(blobs.layer, Range=f"bytes={BIG // 3}-")

    held.update(rest)
    assert (status, headers["Content-Range"]) == (206, f"bytes {BIG // 3}-{BIG - 1}/{BIG}")
    assert f"sha256:{held.hexdigest()}" == blobs.digest


@pytest.fixture(scope="module")
async def afar(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Relaying]:
    """A relaying gateway that does not share the registry-proxy's disk."""
    url, program = gateway_beside(stack, "relaying-afar", BLOB_DELIVERY="relay", SPOOL="")
    async with running(program, tmp_path_factory.mktemp("afar")) as process, client_of(url) as client:
        yield Relaying(client, process)


@pytest.mark.parametrize("where", ["beside", "afar"])
async def test_slow_readers_cost_no_memory(
    stack: Stack, relaying: Relaying, afar: Relaying, big: str, where: str
) -> None:
    """Sixteen clients read little of a blob of 192 MiB: neither a relay nor the data port reads ahead."""
    relay = relaying if where == "beside" else afar
    blobs = await submitted(relay.swell, containerImage=big)
    await ask(blobs.layer)
    processes = [relay.process.pid, stack.pid("registry-proxy")]
    before = [resident(process) for process in processes]

    async with aiohttp.ClientSession(read_bufsize=1 << 16) as client:
        answers = [await client.get(blobs.layer) for _ in range(SLOW_READERS)]
        for _ in range(8):
            for answer in answers:
                await answer.content.readexactly(1 << 18)
            await asyncio.sleep(0.1)  # the clients are slow
        grown = [resident(process) - size for process, size in zip(processes, before, strict=True)]
        for answer in answers:
            answer.close()

    assert max(grown) < SLOW_READERS * PIECES_OF_READER * PIECE, grown


@pytest.mark.parametrize("delivery", ["redirect", "relay"])
async def test_a_client_resumes_after_a_crash_of_the_registry_proxy(
    new_stack: OpenStack, big: str, tmp_path: Path, delivery: str
) -> None:
    """The client requests the remaining bytes, and no part of the broken transfer stays in the spool."""
    async with new_stack(tmp_path, BLOB_DELIVERY=delivery) as stack, client_of(stack.url) as swell:
        blobs = await submitted(swell, containerImage=big)
        held = bytearray()
        async with aiohttp.ClientSession(read_bufsize=1 << 16) as client, client.get(blobs.layer) as answer:
            held += await answer.content.readexactly(1 << 20)
            stack.kill("registry-proxy")
            with pytest.raises(aiohttp.ClientPayloadError):
                await read_into(held, answer)
        await stack.restart("registry-proxy")
        assert len(list((tmp_path / "spool").iterdir())) == 1

        status, _, rest = await ask(blobs.layer, Range=f"bytes={len(held)}-")

        assert (status, f"sha256:{sha256(bytes(held) + rest).hexdigest()}") == (206, blobs.digest)


async def read_into(held: bytearray, answer: aiohttp.ClientResponse) -> None:
    while piece := await answer.content.readany():
        held += piece


def resident(process: int) -> int:
    """Return the resident memory of *process* in bytes."""
    match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text(), re.MULTILINE)
    assert match
    return int(match[1]) * 1024
