"""Two hundred clients pull one cold image through three replicas: the requests that its upstream gets."""

import asyncio
import os
from contextlib import AsyncExitStack

import aiohttp

from swell.testing.images import Layer
from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.place import ACCEPT, Place
from tests.bench.process import CannotMeasure
from tests.e2e.busybox import push
from tests.e2e.environment import gateway_beside, proxy_beside
from tests.e2e.upstreams import CountingProxy, open_counting_proxy, running

ROUNDS = 3
CLIENTS = 200
REPLICAS = 3
COLD = "library/herd"

FETCHES = Bar(
    name=f"{CLIENTS} clients at {REPLICAS} replicas, upstream fetches of each document",
    unit="fetches",
    must=1,
    aim=1,
)


async def herd(place: Place) -> list[Result]:
    """The image is augmented, so its config is read as well. A proxy of the upstream counts the requests of the pulls.

    The request has read both documents already. The pulls read them once more, unless the replica that prepares the
    image is the one that has them in memory.

    Each round has a new image, because all replicas share what was read before.
    """
    async with AsyncExitStack() as opened:
        counted = await opened.enter_async_context(open_counting_proxy(place.stack.registry.address, place.login))
        gateways = [await _replica(opened, place, counted, number) for number in range(REPLICAS)]
        connector = aiohttp.TCPConnector(limit=0)
        session = await opened.enter_async_context(aiohttp.ClientSession(connector=connector, raise_for_status=True))
        return [judge(FETCHES, [await _round(place, session, gateways, counted, number) for number in range(ROUNDS)])]


async def _replica(opened: AsyncExitStack, place: Place, counted: CountingProxy, number: int) -> str:
    """Return the address of another gateway with its own registry-proxy."""
    where, proxy = proxy_beside(place.stack, f"proxy-{number}", ALLOWED_HOSTS=counted.authority)
    url, gateway = gateway_beside(place.stack, f"gateway-{number}", REGISTRY_PROXY=where)
    for program in (proxy, gateway):
        await opened.enter_async_context(running(program, place.home))
    return url


async def _round(
    place: Place, session: aiohttp.ClientSession, gateways: list[str], counted: CountingProxy, number: int
) -> Round:
    repository, content = f"{COLD}{number}", os.urandom(1 << 10)
    await push(place.image(repository), Layer(content, content), authorization=place.login["Authorization"])
    request = {"containerImage": f"{counted.authority}/{repository}:latest", "containerConfig": {"env": ["COLD=yes"]}}
    async with session.post(f"{gateways[0]}/v1alpha2/container", json=request) as answer:
        token = (await answer.json())["containerToken"]
    counted.requests.clear()
    urls = [place.path(gateway, "manifests", f"wt/{token}/{repository}") for gateway in gateways]
    answers = await asyncio.gather(*(_get(session, urls[number % REPLICAS]) for number in range(CLIENTS)))
    if len(set(answers)) != 1 or len(counted.requests) > 2:
        raise CannotMeasure(f"{len(set(answers))} different manifests, and asked for {sorted(counted.requests)}")
    return Round(max(counted.requests.values(), default=0))


async def _get(session: aiohttp.ClientSession, url: str) -> bytes:
    async with session.get(url, headers=ACCEPT) as answer:
        return await answer.read()
