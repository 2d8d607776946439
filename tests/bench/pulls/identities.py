"""What it costs to know who pulls: a warm pull of a user beside one of a stranger, and the first look-up of a user."""

import time
import uuid
from collections.abc import Mapping
from statistics import median
from typing import Any

from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.place import KEY, Place, open_place
from tests.bench.pulls.manifests import by_turns
from tests.e2e.platforms import WORKSPACE, open_platform, platforms_file

ROUNDS = 3
LOOKUPS = 30  # new access tokens in a round

PULL = Bar(
    name="warm manifest of a user with stored credentials",
    unit="requests/s",
    must=0.9,
    aim=0.97,
    compared=Compared.RATIO,
    peer="an anonymous client",
    at_least=True,
)
LOOKUP = Bar(
    name="first look-up of a user over the pairing socket, p50",
    unit="ms",
    must=15,
    aim=8,
    compared=Compared.DIFFERENCE,
    peer="the Platform, asked directly",
)


async def identified_pull(place: Place) -> list[Result]:
    """Measure pulls by tokens of one image; that of the user depends on the state of a vault."""
    registry, headers = place.stack.registry, {"Authorization": f"Bearer {KEY}"}
    url = f"{place.gateway}/v1alpha2/credentials/{registry.address}/library"
    body = {"userName": registry.username, "password": registry.password}
    async with place.http.put(url, json=body, headers=headers):
        pass
    anonymous = await place.token()
    identified = str((await place.submit(containerImage=place.image(), towerAccessToken=KEY))["containerToken"])
    urls = [place.through(token, "manifests") for token in (anonymous, identified)]
    loads = await by_turns(place, *urls)
    return [judge(PULL, [Round(ours.per_second, peer.per_second) for peer, ours in loads])]


async def socket_lookup(place: Place) -> list[Result]:
    """Measure requests with access tokens that no gateway has seen, without what the same request costs afterwards.

    All gateways of a server have the same Platforms, so it has a stack of its own.
    """
    home = place.home / "platform"
    async with open_platform(home) as platform:
        file = platforms_file(home / "platforms.toml", platform.endpoint)
        async with open_place(SWELL_PLATFORMS_FILE=str(file)) as paired:
            await platform.pair(paired.stack.url)
            rounds = []
            for number in range(ROUNDS + 1):
                tokens = [uuid.uuid4().hex for _ in range(LOOKUPS)]
                await platform.knows(tokens=dict.fromkeys(tokens, "alice"))
                pairs = [await _lookup(paired, platform.endpoint, token) for token in tokens]
                if number:  # the first round warms up
                    rounds.append(Round(median(ours for ours, _ in pairs), median(peer for _, peer in pairs)))
    return [judge(LOOKUP, rounds)]


async def _lookup(place: Place, endpoint: str, token: str) -> tuple[float, float]:
    """Return milliseconds of the look-up of *token* over the socket, and of the Platform's own answer."""
    request = {
        "containerImage": place.image(),
        "towerAccessToken": token,
        "towerEndpoint": endpoint,
        "towerWorkspaceId": WORKSPACE,
    }
    url = f"{place.gateway}/v1alpha2/container"
    first = await _ms(place, "POST", url, json=request)
    again = await _ms(place, "POST", url, json=request)
    headers: Mapping[str, str] = {"Authorization": f"Bearer {token}"}
    direct = await _ms(place, "GET", f"{endpoint}/user-info", headers=headers)
    return first - again, direct


async def _ms(place: Place, method: str, url: str, **options: Any) -> float:
    started = time.perf_counter()
    async with place.http.request(method, url, **options) as answer:
        await answer.read()
    return (time.perf_counter() - started) * 1000
