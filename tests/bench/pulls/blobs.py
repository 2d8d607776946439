"""The speed of blobs, redirected, sent or relayed: their first byte, their rate and their memory."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from statistics import median

import aiohttp

from swell.oci.digest import digest_of
from swell.testing.images import Layer
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.load import load
from tests.bench.place import ACCEPT, BASE, Place
from tests.bench.process import CannotMeasure, resident, run
from tests.bench.pulls.counted import counted
from tests.bench.pulls.peers import OPEN, open_registry
from tests.bench.pulls.relaying import Relaying, relaying
from tests.e2e.busybox import push

ROUNDS = 3
FIRST_BYTES = 30  # in each round
MANY = "library/many"
MANY_SIZE = 1 << 20
BIG = "library/big"
BIG_SIZE = 96 << 20  # bytes
FETCHES = 4  # of the large blob in a round, one after another or at once
RELAYED = 4 << 30  # bytes, while memory is measured
COLD_CLIENTS = 200
COLD = "library/cold"
COLD_SIZE = 4 << 20

REDIRECT = Bar(name="blob by redirect", unit="requests/s", must=12_000, aim=25_000, at_least=True)
FIRST_BYTE = Bar(
    name="uncached blob's first byte, p50",
    unit="ms",
    must=8,
    aim=3,
    compared=Compared.DIFFERENCE,
    peer="its upstream, read directly",
)
COLD_FETCHES = Bar(name=f"upstream fetches for {COLD_CLIENTS} cold clients of a blob", unit="fetches", must=1, aim=1)


RELAYED_ALONE = "relayed without a shared disk"


def _growing(how: str) -> Bar:
    return Bar(name=f"gateway and data port growing, 4 GiB {how}", unit="MB", must=50, aim=50)


def _sent(how: str, clients: str) -> Bar:
    name = f"blob {how}, {clients}"
    return Bar(name=name, unit="MB/s", must=0.7, aim=1, compared=Compared.RATIO, peer=OPEN, at_least=True)


async def blob_redirect(place: Place) -> list[Result]:
    url = place.through(await place.token(), "blobs", reference=await _layer(place, BASE))
    async with place.http.get(url, allow_redirects=False) as answer:
        if answer.status != 307:
            raise CannotMeasure(f"a blob is answered with {answer.status}, no redirect")
    await load(url, seconds=1)
    return [judge(REDIRECT, [Round((await load(url)).per_second) for _ in range(ROUNDS)])]


async def first_byte(place: Place) -> list[Result]:
    """Measure blobs that only the upstream has, alternately with the upstream; each blob is read once, with its
    redirect.
    """
    rounds = []
    for number in range(ROUNDS):
        repository, blobs = f"{MANY}{number}", [os.urandom(MANY_SIZE) for _ in range(FIRST_BYTES)]
        layers = (Layer(each, each) for each in blobs)
        await push(place.image(repository), *layers, authorization=place.login["Authorization"])
        token = await place.token(repository)
        await place.get(place.through(token, "manifests", repository), ACCEPT)
        pairs = []
        for digest in map(digest_of, blobs):
            peer = place.path(place.registry, "blobs", repository, digest)
            ours = place.through(token, "blobs", repository, digest)
            pairs.append((await _first_byte(place, peer, place.login), await _first_byte(place, ours, {})))
        rounds.append(Round(median(ours for _, ours in pairs), median(peer for peer, _ in pairs)))
    return [judge(FIRST_BYTE, rounds)]


async def blob_relay(place: Place) -> list[Result]:
    """Measure an incompressible blob for one client and for four.

    It comes through a redirect to the data port, and from relaying gateways with and without the registry-proxy's disk.
    The peer sends it from a file.
    """
    await _push_big(place, BIG, BIG_SIZE)
    digest, token = await _layer(place, BIG), await place.token(BIG)
    results = []
    async with (
        open_registry(place) as registry,
        relaying(place) as beside,
        relaying(place, shared=False) as afar,
    ):
        peer = place.path(registry, "blobs", BIG, digest)
        direct = place.path(place.gateway, "blobs", f"wt/{token}/{BIG}", digest)
        results += await _sent_by(peer, direct, "from the data port")
        for how, relay in (("relayed", beside), (RELAYED_ALONE, afar)):
            ours = place.path(relay.url, "blobs", f"wt/{token}/{BIG}", digest)
            results.append(judge(_growing(how), [Round(await _growth(place, relay, ours))]))
            results += await _sent_by(peer, ours, how)
    return results


async def _sent_by(peer: str, ours: str, how: str) -> list[Result]:
    """Measure the URLs *ours* and *peer* alternately, after a first fetch that may be cold."""
    await _rate(ours)
    results = []
    for clients, at_once in (("1 client", False), (f"{FETCHES} clients", True)):
        rates = [(await _rate(peer, at_once=at_once), await _rate(ours, at_once=at_once)) for _ in range(ROUNDS)]
        results.append(judge(_sent(how, clients), [Round(ours, peer) for peer, ours in rates]))
    return results


async def cold_clients(place: Place) -> list[Result]:
    """Measure clients that start together for a new blob; each round has another blob."""
    rounds = []
    for number in range(ROUNDS):
        repository = f"{COLD}{number}"
        await _push_big(place, repository, COLD_SIZE)
        digest = await _layer(place, repository)
        async with counted(place) as registry:
            answer = await place.submit(containerImage=f"{registry.authority}/{repository}:latest")
            url = place.through(str(answer["containerToken"]), "blobs", repository, digest)
            await _all_at_once(url)
            rounds.append(Round(registry.requests[f"/v2/{repository}/blobs/{digest}"]))
    return [judge(COLD_FETCHES, rounds)]


async def _all_at_once(url: str) -> None:
    async def pull() -> None:
        async with client.get(url) as answer:
            if len(await answer.read()) < COLD_SIZE:
                raise CannotMeasure("a cold client got too little")

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, raise_for_status=True) as client:
        await asyncio.gather(*(pull() for _ in range(COLD_CLIENTS)))


async def _growth(place: Place, relay: Relaying, url: str) -> float:
    """Return the larger growth of memory in MB while curl reads *url* repeatedly."""
    processes = relay.pid, place.stack.pid("registry-proxy")
    before = [resident(process) for process in processes]
    reading, most = asyncio.create_task(_read_all(url)), 0.0
    while not reading.done():
        most = max(most, *(resident(process) - size for process, size in zip(processes, before, strict=True)))
        await asyncio.wait([reading], timeout=0.1)
    await reading
    return most


async def _read_all(url: str) -> None:
    for _ in range(RELAYED // (FETCHES * BIG_SIZE) + 1):
        await _rate(url)


async def _layer(place: Place, repository: str) -> str:
    """Return the digest of the first layer."""
    return str(json.loads(await place.manifest(repository))["layers"][0]["digest"])


async def _push_big(place: Place, repository: str, size: int) -> None:
    big = place.bare.context / "big"
    big.write_bytes(os.urandom(size))
    await place.bare.build_and_push(place.image(repository), "FROM scratch\nADD big /\n")
    big.unlink()


async def _first_byte(place: Place, url: str, headers: Mapping[str, str]) -> float:
    """Return milliseconds until the first byte of the body. The rest is read too, so the connection is reused."""
    started = time.perf_counter()
    async with place.http.get(url, headers=headers) as answer:
        await answer.content.readany()
        seconds = time.perf_counter() - started
        await answer.read()
    return seconds * 1000


async def _rate(url: str, *, at_once: bool = False) -> float:
    """Return MB/s while curl fetches *url* `FETCHES` times."""
    fetches = ["-o", "/dev/null", url] * FETCHES
    started = time.perf_counter()
    await run("curl", "-sfL", *(["-Z", "--parallel-immediate"] if at_once else []), *fetches)
    return FETCHES * BIG_SIZE / 1e6 / (time.perf_counter() - started)
