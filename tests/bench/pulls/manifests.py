"""The speed of manifests: warm beside registries with the same manifest, cold beside the upstream."""

import time
import uuid
from collections.abc import Mapping
from statistics import median

from swell.oci.digest import digest_of
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.load import Load, load
from tests.bench.place import ACCEPT, BASE, Place
from tests.bench.process import CannotMeasure
from tests.bench.pulls.peers import CACHE, OPEN, open_registry, pull_through

ROUNDS = 3
COLD = 50  # new tokens in a round

BY_TAG = Bar(
    name="warm manifest by tag",
    unit="requests/s",
    must=8,
    aim=15,
    compared=Compared.RATIO,
    peer=OPEN,
    at_least=True,
)
TAIL = Bar(name="the same, our p99 to its p50", unit="ms", must=1, aim=1, compared=Compared.RATIO, peer=OPEN)
BY_DIGEST = Bar(
    name="warm manifest by digest",
    unit="requests/s",
    must=12,
    aim=24,
    compared=Compared.RATIO,
    peer=CACHE,
    at_least=True,
)
UPSTREAM = Bar(
    name="cold manifest by tag, p50",
    unit="ms",
    must=4,
    aim=2,
    compared=Compared.DIFFERENCE,
    peer="its upstream, read directly",
)


async def manifest_by_tag(place: Place) -> list[Result]:
    token = await place.token()
    async with open_registry(place) as registry:
        loads = await by_turns(place, place.path(registry, "manifests"), place.through(token, "manifests"))
    tail = [Round(ours.p99 / 1000, peer.p50 / 1000) for peer, ours in loads]
    return [judge(BY_TAG, _rates(loads)), judge(TAIL, tail)]


async def manifest_by_digest(place: Place) -> list[Result]:
    token, digest = await place.token(), digest_of(await place.manifest(BASE))
    async with pull_through(place) as cache:
        peer = place.path(cache, "manifests", reference=digest)
        loads = await by_turns(place, peer, place.through(token, "manifests", reference=digest))
    return [judge(BY_DIGEST, _rates(loads))]


async def cold_manifest(place: Place) -> list[Result]:
    """Measure the first manifest of a new token for a new image, and the same manifest from the upstream."""
    await _cold(place)
    rounds = []
    for _ in range(ROUNDS):
        pairs = [await _cold(place) for _ in range(COLD)]
        rounds.append(Round(median(ours for _, ours in pairs), median(peer for peer, _ in pairs)))
    return [judge(UPSTREAM, rounds)]


async def _cold(place: Place) -> tuple[float, float]:
    """Return milliseconds of the upstream's response and of Swell's."""
    tag = f"cold-{uuid.uuid4().hex}"
    await place.tag_another(tag)
    ours = place.through(await place.token(tag=tag), "manifests", reference=tag)
    peer = place.path(place.registry, "manifests", reference=tag)
    return await _ms(place, peer, ACCEPT | place.login), await _ms(place, ours, ACCEPT)


async def _ms(place: Place, url: str, headers: Mapping[str, str]) -> float:
    started = time.perf_counter()
    await place.get(url, headers)
    return (time.perf_counter() - started) * 1000


async def by_turns(place: Place, peer: str, ours: str) -> list[tuple[Load, Load]]:
    """Load the URLs *peer* and *ours* alternately, after both are warm and have returned equal bytes."""
    if await place.get(ours, ACCEPT) != await place.get(peer, ACCEPT):
        raise CannotMeasure("the two manifests differ")
    for url in (peer, ours):
        await load(url, ACCEPT, seconds=1)
    return [(await load(peer, ACCEPT), await load(ours, ACCEPT)) for _ in range(ROUNDS)]


def _rates(loads: list[tuple[Load, Load]]) -> list[Round]:
    return [Round(ours.per_second, peer.per_second) for peer, ours in loads]
