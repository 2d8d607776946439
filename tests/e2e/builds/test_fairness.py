"""The fair queue with several builders: hundreds of builds of one client do not delay another client."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from gateway.adapters.access.api_keys import ApiKey, hash_of, new_key
from gateway.commands.keys import entry_of
from swell.store.builds import RedisBuilds
from swell.store.connections import redis
from swell.store.records import BuildResult
from swell_embedded.ports import Ports
from swell_embedded.processes.probes import grpc_health
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.client import Fields, Swell, client_of, encoded
from tests.e2e.environment import of_this_machine
from tests.e2e.raw import submit
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running

ADA, BOB = new_key(), new_key()
SHARE, WAITING = 2, 28


@pytest.fixture(scope="module")
async def stack(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Two builders with two builds each. A client may have two builds in progress and 28 waiting."""
    home = tmp_path_factory.mktemp("fair")
    keys = "".join(entry_of(ApiKey(hash=hash_of(key), user=user)) for key, user in ((ADA, "ada"), (BOB, "bob")))
    (home / "keys.toml").write_text(keys)
    settings = {"BUILDS_AT_ONCE": str(SHARE), "BUILDS_WAITING": str(WAITING), "BUILD_CONCURRENCY": "2"}
    async with new_stack(home / "stack", API_KEYS_FILE=str(home / "keys.toml"), **settings) as opened:
        port = Ports.free().builder
        addresses = {"SWELL_LISTEN": f"127.0.0.1:{port}", "SWELL_WORKSPACE": str(home / "second")}
        second = Program(
            name="second",
            command=(sys.executable, "-m", "builder"),
            environment=of_this_machine() | opened.env | addresses | {"SWELL_BUILD_CONCURRENCY": "2"},
            ready=grpc_health(port),
        )
        async with running(second, home):
            yield opened


@pytest.fixture(scope="module")
async def swell(stack: Stack) -> AsyncIterator[Swell]:
    async with client_of(stack.url) as client:
        yield client


def recipe(upstreams: Upstreams, name: str, seconds: float = 1) -> str:
    return f"FROM {upstreams.image()}\nRUN echo {name} && sleep {seconds}\n"


async def test_a_client_with_many_builds_does_not_delay_another(
    stack: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """Ada fills her queue with 30 builds; Bob's build starts next. Ada sees the positions of her builds and gets all of
    them, two at a time. A crash of the gateway meanwhile makes no difference.
    """
    first = [await swell.build(recipe(upstreams, f"first{n}", 300), towerAccessToken=ADA) for n in range(SHARE)]
    hers = [
        (await swell.build(recipe(upstreams, f"ada{n}", 0.1), towerAccessToken=ADA))["buildId"] for n in range(WAITING)
    ]
    refused = await submit(swell, containerFile=encoded(recipe(upstreams, "one-more")), towerAccessToken=ADA)
    assert (refused.status, refused.json["code"]) == (429, "TOOMANYREQUESTS")
    assert int(refused.headers["Retry-After"]) > 0
    positions = [(await swell.build_status(each)).get("queuePosition", 0) for each in hers]
    assert positions == sorted(positions)
    assert positions[-1] >= WAITING
    request = await swell.build(recipe(upstreams, f"ada{WAITING - 1}", 0.1), towerAccessToken=ADA)
    _, status = await swell.get(f"/v1alpha2/container/{request['requestId']}/status")
    assert status["status"] == "BUILDING" and status["queuePosition"] > 0
    _, record = await swell.get(f"/v1alpha1/builds/{hers[-1]}")
    assert record["queuePosition"] > 0

    bobs = (await swell.build(recipe(upstreams, "bob"), towerAccessToken=BOB))["buildId"]
    assert (await swell.ended(bobs))["succeeded"]
    assert {(await swell.build_status(each))["status"] for each in hers} == {"PENDING"}
    for each in first:  # they have blocked the queue until now
        await cancel(swell, each)
    stack.kill("gateway")
    await stack.restart("gateway")
    await asyncio.gather(*(swell.ended(each) for each in hers))

    results = await results_of(stack, hers)
    assert all(result.succeeded for result in results)
    assert most_at_once(results) <= SHARE
    by_start = [hers[results.index(result)] for result in sorted(results, key=lambda result: result.started)]
    assert abs(by_start.index(hers[-1]) - len(hers)) <= SHARE  # first in, first out


async def test_a_client_waits_for_no_more_builds_of_another_than_the_share(
    stack: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """Also where builders are busy: another's builds in progress are at most its share, and no new ones come before."""
    blockers = [
        await swell.build(recipe(upstreams, f"{name}s-blocker{n}", 300), towerAccessToken=key)
        for n in range(SHARE)
        for name, key in (("ada", ADA), ("bob", BOB))
    ]
    hers = [(await swell.build(recipe(upstreams, f"next{n}", 0.1), towerAccessToken=ADA))["buildId"] for n in range(10)]
    bobs = (await swell.build(recipe(upstreams, "bobs-next", 0.1), towerAccessToken=BOB))["buildId"]
    for each in blockers[::2]:  # Ada's: her next builds start, and Bob's waits for one of his own
        await cancel(swell, each)
    await swell.ended(hers[0])
    await cancel(swell, blockers[1])
    await asyncio.gather(*(swell.ended(each) for each in (bobs, *hers)))
    await cancel(swell, blockers[3])
    await swell.ended(blockers[3]["buildId"])

    (result,) = await results_of(stack, [bobs])
    freed = (await results_of(stack, [blockers[1]["buildId"]]))[0].finished
    before = [each for each in await results_of(stack, hers) if freed < each.started < result.started]
    assert len(before) <= SHARE


async def test_cancelling_a_waiting_build_frees_its_place(swell: Swell, upstreams: Upstreams) -> None:
    """A client that cancels a build can submit another one at once."""
    builds = [
        await swell.build(recipe(upstreams, f"full{n}", 300), towerAccessToken=BOB) for n in range(SHARE + WAITING)
    ]
    more = {"containerFile": encoded(recipe(upstreams, "another")), "towerAccessToken": BOB}
    assert (await submit(swell, **more)).status == 429

    for build in builds[1:]:
        await cancel(swell, build)
    answer = await submit(swell, **more)
    assert answer.status == 200
    for build in (builds[0], answer.json):
        await cancel(swell, build)
    await asyncio.gather(*(swell.ended(build["buildId"]) for build in (*builds, answer.json)))


async def cancel(swell: Swell, build: Fields) -> None:
    status, _ = await swell.post(f"/v1alpha1/builds/{build['buildId']}/cancel", requestId=build["requestId"])
    assert status == 200


async def results_of(stack: Stack, build_ids: list[str]) -> list[BuildResult]:
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(redis.connect(stack.env["SWELL_REDIS_URL"]))
        records = [await RedisBuilds(connection).get(each) for each in build_ids]
    return [build.result for build in records if build and build.result]


def most_at_once(results: list[BuildResult]) -> int:
    """Return the largest number of builds that were in progress at the same time."""
    moments = [(each.started, 1) for each in results] + [(each.finished, -1) for each in results]
    now = most = 0
    for _, change in sorted(moments):
        now += change
        most = max(most, now)
    return most
