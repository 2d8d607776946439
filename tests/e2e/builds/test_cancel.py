"""Cancelling real builds ends their processes, and all waiting clients see it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import bcrypt
import msgspec
import pytest

from gateway.adapters.access.api_keys import ApiKey, hash_of, new_key
from gateway.commands.keys import entry_of
from swell.jobs import streams
from swell.jobs.messages import BuildDone
from swell_embedded.stack import Stack
from tests.e2e.busybox import FORMS
from tests.e2e.client import Swell, client_of, until
from tests.e2e.engines import pull
from tests.e2e.raw import LOGIN, Answer, ask
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams
from tests.e2e.watching import watching
from tests.integration.embedded.processes import descendants, gone

ADA, BOB = new_key(), new_key()


@pytest.fixture(scope="module")
async def stack(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A stack that runs one build at a time, with API keys for Ada and Bob and an operator's account."""
    home = tmp_path_factory.mktemp("cancelling")
    keys = "".join(entry_of(ApiKey(hash=hash_of(key), user=user)) for key, user in ((ADA, "ada"), (BOB, "bob")))
    (home / "keys.toml").write_text(keys)
    (home / "accounts").write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    settings = {"API_KEYS_FILE": str(home / "keys.toml"), "ACCOUNTS_FILE": str(home / "accounts")}
    async with new_stack(home / "stack", BUILD_CONCURRENCY="1", JOB_LEASE="PT5S", **settings) as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(stack: Stack) -> AsyncIterator[Swell]:
    async with client_of(stack.url) as client:
        yield client


def sleeping(upstreams: Upstreams, name: str, base: str = FORMS[0]) -> str:
    """Return a unique container file whose step prints a line and sleeps."""
    return f'FROM {upstreams.image(base)}\nRUN echo "{name} $((20 + 1))" && sleep 300\n'


async def cancel(swell: Swell, build_id: str, body: Any = None, **headers: str) -> Answer:
    return await ask(swell, "POST", f"/v1alpha1/builds/{build_id}/cancel", body, **headers)


async def test_cancelling_a_build_removes_its_processes_and_files(
    stack: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The status, the pull, the watcher and the log show the reason."""
    build = await swell.build(sleeping(upstreams, "doomed"))
    build_id = build["buildId"]
    async with watching(swell, build_id) as watcher:
        await watcher.sees("doomed 21")
        pulling = asyncio.create_task(pull(build["targetImage"], tmp_path))
        family = descendants(stack.pid("builder"))
        assert len(family) > 3

        answer = await cancel(swell, build_id, {"requestId": build["requestId"]})

        assert (answer.status, answer.json) == (200, {"id": build_id, "cancelled": True, "others": 0})
        end = (await watcher.end())[-1]
    assert '"succeeded":false' in end.data and '"reason":"cancelled"' in end.data
    assert not await gone(family)
    workspace = Path(stack.env["SWELL_WORKSPACE"])
    assert not [path for path in (workspace / "builds").iterdir() if path.name.startswith(build_id)]
    ran = await pulling
    assert ran.status != 0 and "cancelled" in ran.output
    status = await swell.build_status(build_id)
    assert (status["succeeded"], status["reason"]) == (False, "cancelled")
    _, request = await swell.get(f"/v1alpha2/container/{build['requestId']}/status")
    assert (request["status"], request["succeeded"]) == ("DONE", False)
    assert "cancelled" in request["reason"] and "cancelled" in await swell.log(build_id)
    late = await cancel(swell, build_id, {"requestId": build["requestId"]})
    assert (late.status, late.json["code"]) == (409, "CONFLICT")


async def test_a_waiting_build_is_cancelled_without_a_builder(stack: Stack, swell: Swell, upstreams: Upstreams) -> None:
    """It ends at once while the only builder is busy. It never starts and is not counted."""
    before = await published_ends(stack)
    busy = await swell.build(sleeping(upstreams, "busy"))
    waiting = await swell.build(sleeping(upstreams, "waiting"))
    async with watching(swell, busy["buildId"]) as watcher:
        await watcher.sees("busy 21")
        status = await swell.build_status(waiting["buildId"])
        assert (status["status"], status["queuePosition"]) == ("PENDING", 1)

        assert (await cancel(swell, waiting["buildId"], {"requestId": waiting["requestId"]})).status == 200

        status = await swell.build_status(waiting["buildId"])
        assert (status["status"], status["succeeded"], status["reason"]) == ("COMPLETED", False, "cancelled")
        async with watching(swell, waiting["buildId"]) as other:
            assert [event.name for event in await other.end()] == ["end"]
        await cancel(swell, busy["buildId"], {"requestId": busy["requestId"]})
        await watcher.end()

    async def build() -> list[BuildDone] | None:
        new = [event for event in await published_ends(stack) if event not in before]
        return new if len(new) >= 2 else None

    events = {event.id: event.begun for event in await until(build)}
    assert events == {busy["buildId"]: True, waiting["buildId"]: False}


async def test_the_last_request_that_leaves_a_build_cancels_it(swell: Swell, upstreams: Upstreams) -> None:
    """Ada sent two requests, Bob and an anonymous client one each. A client without a request cannot cancel."""
    recipe = sleeping(upstreams, "shared")
    ada = await swell.build(recipe, towerAccessToken=ADA)
    build_id = ada["buildId"]
    others = [await swell.build(recipe, towerAccessToken=key) for key in (ADA, BOB)] + [await swell.build(recipe)]
    assert {each["buildId"] for each in others} == {build_id}
    other = await swell.build(sleeping(upstreams, "strange"))

    assert (await cancel(swell, build_id, {"requestId": other["requestId"]})).status == 403
    assert (await cancel(swell, build_id)).status == 403
    assert (await cancel(swell, build_id, {"towerAccessToken": ADA})).json["others"] == 2
    assert (await cancel(swell, build_id, Authorization=f"Bearer {BOB}")).json["others"] == 1
    assert (await swell.build_status(build_id))["status"] == "PENDING"
    last = await cancel(swell, build_id, {"requestId": others[-1]["requestId"]})
    assert last.json == {"id": build_id, "cancelled": True, "others": 0}
    await swell.ended(build_id)
    assert (await cancel(swell, other["buildId"], {"requestId": other["requestId"]})).status == 200


@pytest.mark.parametrize("shared", [False, True])
async def test_cancelling_a_build_of_several_platforms_cancels_its_children(
    stack: Stack, swell: Swell, upstreams: Upstreams, shared: bool
) -> None:
    """The running child ends with its processes and the waiting child never starts. A child that another request uses
    continues.
    """
    recipe = sleeping(upstreams, f"both-{shared}", "oci-index")
    whole = await swell.build(recipe, containerPlatform="linux/amd64,linux/arm64")
    children = await children_of(swell, whole["buildId"])
    alone = await swell.build(recipe) if shared else None
    async with watching(swell, children["linux/amd64"]) as watcher:
        await watcher.sees(f"both-{shared} 21")
        step = await until(lambda: sleepers(stack))

        answer = await cancel(swell, whole["buildId"], {"requestId": whole["requestId"]})

        assert answer.json == {"id": whole["buildId"], "cancelled": True, "others": 0}
        assert (await swell.ended(whole["buildId"]))["reason"] == "cancelled"
        assert (await swell.ended(children["linux/arm64"]))["reason"] == "cancelled"
        if alone:
            assert alone["buildId"] == children["linux/amd64"]
            assert (await swell.build_status(alone["buildId"]))["status"] == "PENDING"
            assert await sleepers(stack) == step
            assert (await cancel(swell, alone["buildId"], {"requestId": alone["requestId"]})).json["cancelled"]
        await watcher.end(20)
    assert (await swell.ended(children["linux/amd64"]))["reason"] == "cancelled"
    assert not await gone(step)


async def sleepers(stack: Stack) -> set[int]:
    """Return the processes of steps that sleep."""
    family = descendants(stack.pid("builder"))
    return {pid for pid in family if command_of(pid) == b"sleep\x00300\x00"}


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it ended at this moment
        return b""


async def children_of(swell: Swell, build_id: str) -> dict[str, str]:
    """Return the child builds of *build_id* by platform."""
    _, record = await swell.get(f"/v1alpha1/builds/{build_id}")
    return {each["value"]: each["id"] for each in record["buildChildIds"]["refs"]}


async def test_the_operator_can_cancel_any_build(swell: Swell, upstreams: Upstreams) -> None:
    """An operator must be able to stop a build of any client."""
    build = await swell.build(sleeping(upstreams, "operated"), towerAccessToken=ADA)

    assert (await cancel(swell, build["buildId"], Authorization="Basic b3BzOndyb25n")).status == 401
    assert (await cancel(swell, build["buildId"], **LOGIN)).json["cancelled"]
    assert (await swell.ended(build["buildId"]))["reason"] == "cancelled"


async def test_a_cancelled_build_can_be_requested_again(swell: Swell, upstreams: Upstreams) -> None:
    """Cancelling ends one build; it does not forbid the image."""
    recipe = f'FROM {upstreams.image()}\nRUN echo "again $((20 + 1))" && sleep 5\n'
    first = await swell.build(recipe)
    await cancel(swell, first["buildId"], {"requestId": first["requestId"]})

    second = await swell.build(recipe)

    assert second["buildId"] != first["buildId"]
    assert (await swell.ended(second["buildId"]))["succeeded"]
    assert not (await swell.ended(first["buildId"]))["succeeded"]


async def test_a_cancellation_survives_a_crash_of_the_builder(stack: Stack, swell: Swell, upstreams: Upstreams) -> None:
    """The builder crashes before it can end the build. The next builder does not start it again."""
    build = await swell.build(sleeping(upstreams, "cancelled"))
    async with watching(swell, build["buildId"]) as watcher:
        await watcher.sees("cancelled 21")
        stack.kill("builder")
        assert (await cancel(swell, build["buildId"], {"requestId": build["requestId"]})).status == 200
        await stack.restart("builder")
        end = (await watcher.end())[-1]

    assert '"reason":"cancelled"' in end.data
    assert "cancelled 21" not in await swell.log(build["buildId"])


async def published_ends(stack: Stack) -> list[BuildDone]:
    """Return how many BuildDone events were published."""
    async with AsyncExitStack() as opened:
        nats = await opened.enter_async_context(streams.connect(stack.env["SWELL_NATS_URL"], "test"))
        info = await nats.stream.stream_info("EVENTS", subjects_filter=BuildDone.subject)
        count = (info.state.subjects or {}).get(BuildDone.subject, 0)
        source = await nats.stream.subscribe(BuildDone.subject, ordered_consumer=True)
        return [msgspec.json.decode((await source.next_msg(5)).data, type=BuildDone) for _ in range(count)]
