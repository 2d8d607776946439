"""How fast blobs are answered: redirected, relayed because nobody else may give them, and how soon they begin."""

import json
import os
import time
from collections.abc import Mapping
from statistics import median

from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.load import load
from tests.bench.peers import OPEN, open_registry
from tests.bench.place import ACCEPT, BASE, Place
from tests.bench.process import CannotMeasure, run

ROUNDS = 3
FIRST_BYTES = 30  # in a round
BIG = "library/big"
BIG_SIZE = 96 << 20  # bytes
FETCHES = 4  # of the big blob in a round, whether one after another or at once

REDIRECT = Bar(name="blob by redirect", unit="requests/s", must=5_000, aim=10_000, at_least=True)
FIRST_BYTE = Bar(
    name="blob's first byte, p50",
    unit="ms",
    must=10,
    aim=3,
    compared=Compared.DIFFERENCE,
    peer="its upstream, asked directly",
)


def _relay(clients: str) -> Bar:
    name = f"blob relayed, {clients}"
    return Bar(name=name, unit="MB/s", must=0.7, aim=1, compared=Compared.RATIO, peer=OPEN, at_least=True)


async def blob_redirect(place: Place) -> list[Result]:
    url = place.through(await place.token(), "blobs", reference=await _layer(place, BASE))
    async with place.http.get(url, allow_redirects=False) as answer:
        if answer.status != 307:
            raise CannotMeasure(f"a blob is answered with {answer.status}, no redirect")
    await load(url, seconds=1)
    return [judge(REDIRECT, [Round((await load(url)).per_second) for _ in range(ROUNDS)])]


async def first_byte(place: Place) -> list[Result]:
    """Under a new token that has read its manifest, by turns with the upstream; the redirect is in our time."""
    digest = await _layer(place, BASE)
    peer, rounds = place.path(place.registry, "blobs", reference=digest), []
    for _ in range(ROUNDS):
        pairs = []
        for _ in range(FIRST_BYTES):
            token = await place.token()
            await place.get(place.through(token, "manifests"), ACCEPT)
            ours = place.through(token, "blobs", reference=digest)
            pairs.append((await _first_byte(place, peer, place.login), await _first_byte(place, ours, {})))
        rounds.append(Round(median(ours for _, ours in pairs), median(peer for peer, _ in pairs)))
    return [judge(FIRST_BYTE, rounds)]


async def blob_relay(place: Place) -> list[Result]:
    """A blob that compression cannot make smaller, to one client and to four; the peer sends it from a file."""
    await _push_big(place)
    digest = await _layer(place, BIG)
    ours = place.through(await place.token(BIG), "blobs", BIG, digest)
    results = []
    async with open_registry(place) as registry:
        peer = place.path(registry, "blobs", BIG, digest)
        await _rate(ours)
        for clients, at_once in (("1 client", False), (f"{FETCHES} clients", True)):
            rates = [(await _rate(peer, at_once=at_once), await _rate(ours, at_once=at_once)) for _ in range(ROUNDS)]
            results.append(judge(_relay(clients), [Round(ours, peer) for peer, ours in rates]))
    return results


async def _layer(place: Place, repository: str) -> str:
    """The digest of the first layer."""
    return str(json.loads(await place.manifest(repository))["layers"][0]["digest"])


async def _push_big(place: Place) -> None:
    big = place.bare.context / "big"
    big.write_bytes(os.urandom(BIG_SIZE))
    await place.bare.build_and_push(place.image(BIG), "FROM scratch\nADD big /\n")
    big.unlink()


async def _first_byte(place: Place, url: str, headers: Mapping[str, str]) -> float:
    """Milliseconds until the first byte of the body; the rest is read as well, so that the connection stays."""
    started = time.perf_counter()
    async with place.http.get(url, headers=headers) as answer:
        await answer.content.readany()
        seconds = time.perf_counter() - started
        await answer.read()
    return seconds * 1000


async def _rate(url: str, *, at_once: bool = False) -> float:
    """MB/s while curl fetches *url* `FETCHES` times."""
    fetches = ["-o", "/dev/null", url] * FETCHES
    started = time.perf_counter()
    await run("curl", "-sfL", *(["-Z", "--parallel-immediate"] if at_once else []), *fetches)
    return FETCHES * BIG_SIZE / 1e6 / (time.perf_counter() - started)
