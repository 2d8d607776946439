"""Cancelling real builds: their processes end, and everybody who waits is told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import bcrypt
import msgspec
import pytest

from gateway.adapters.api_keys import ApiKey, hash_of, new_key
from gateway.commands.keys import entry_of
from swell.jobs import streams
from swell.jobs.messages import BuildDone
from swell_embedded.stack import Stack
from tests.e2e.busybox import FORMS
from tests.e2e.client import Swell, client_of, until
from tests.e2e.conftest import OpenStack
from tests.e2e.engines import pull
from tests.e2e.raw import LOGIN, Answer, ask
from tests.e2e.upstreams import Upstreams
from tests.e2e.watching import watching
from tests.integration.embedded.processes import descendants, gone

ADA, BOB = new_key(), new_key()


@pytest.fixture(scope="module")
async def stack(new_stack: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """One build at a time; Ada, Bob and an operator are known."""
    home = tmp_path_factory.mktemp("cancelling")
    keys = "".join(entry_of(ApiKey(hash=hash_of(key), user=user)) for key, user in ((ADA, "ada"), (BOB, "bob")))
    (home / "keys.toml").write_text(keys)
    (home / "accounts").write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    told = {"API_KEYS_FILE": str(home / "keys.toml"), "ACCOUNTS_FILE": str(home / "accounts")}
    async with new_stack(home / "stack", BUILD_CONCURRENCY="1", JOB_LEASE="PT5S", **told) as opened:
        yield opened


@pytest.fixture(scope="module")
async def swell(stack: Stack) -> AsyncIterator[Swell]:
    async with client_of(stack.url) as client:
        yield client


def sleeping(upstreams: Upstreams, name: str, base: str = FORMS[0]) -> str:
    """A container file of its own; its step says that it runs."""
    return f'FROM {upstreams.image(base)}\nRUN echo "{name} $((20 + 1))" && sleep 300\n'


async def cancel(swell: Swell, build_id: str, body: Any = None, **headers: str) -> Answer:
    return await ask(swell, "POST", f"/v1alpha1/builds/{build_id}/cancel", body, **headers)


async def test_a_cancelled_build_ends_with_all_that_belongs_to_it(
    stack: Stack, swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Processes and files go; the status, the pull, the watcher and the log say why."""
    told = await swell.build(sleeping(upstreams, "doomed"))
    build_id = told["buildId"]
    async with watching(swell, build_id) as watcher:
        await watcher.sees("doomed 21")
        pulling = asyncio.create_task(pull(told["targetImage"], tmp_path))
        family = descendants(stack.pid("builder"))
        assert len(family) > 3

        answer = await cancel(swell, build_id, {"requestId": told["requestId"]})

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
    _, request = await swell.get(f"/v1alpha2/container/{told['requestId']}/status")
    assert (request["status"], request["succeeded"]) == ("DONE", False)
    assert "cancelled" in request["reason"] and "cancelled" in await swell.log(build_id)
    late = await cancel(swell, build_id, {"requestId": told["requestId"]})
    assert (late.status, late.json["code"]) == (409, "CONFLICT")


async def test_a_build_that_waits_is_cancelled_without_a_builder(
    stack: Stack, swell: Swell, upstreams: Upstreams
) -> None:
    """At once, although the only builder is busy; it never begins, and nobody counts it."""
    before = await ends_told(stack)
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

    async def told() -> list[BuildDone] | None:
        new = [event for event in await ends_told(stack) if event not in before]
        return new if len(new) >= 2 else None

    events = {event.id: event.begun for event in await until(told)}
    assert events == {busy["buildId"]: True, waiting["buildId"]: False}


async def test_a_build_of_several_is_cancelled_by_the_last_one(swell: Swell, upstreams: Upstreams) -> None:
    """Ada has asked twice, Bob and somebody without a name once; who has not asked at all cancels nothing."""
    recipe = sleeping(upstreams, "shared")
    ada = await swell.build(recipe, towerAccessToken=ADA)
    build_id = ada["buildId"]
    others = [await swell.build(recipe, towerAccessToken=key) for key in (ADA, BOB)] + [await swell.build(recipe)]
    assert {each["buildId"] for each in others} == {build_id}
    stranger = await swell.build(sleeping(upstreams, "strange"))

    assert (await cancel(swell, build_id, {"requestId": stranger["requestId"]})).status == 403
    assert (await cancel(swell, build_id)).status == 403
    assert (await cancel(swell, build_id, {"towerAccessToken": ADA})).json["others"] == 2
    assert (await cancel(swell, build_id, Authorization=f"Bearer {BOB}")).json["others"] == 1
    assert (await swell.build_status(build_id))["status"] == "PENDING"
    last = await cancel(swell, build_id, {"requestId": others[-1]["requestId"]})
    assert last.json == {"id": build_id, "cancelled": True, "others": 0}
    await swell.ended(build_id)
    assert (await cancel(swell, stranger["buildId"], {"requestId": stranger["requestId"]})).status == 200


@pytest.mark.parametrize("shared", [False, True])
async def test_the_builds_of_each_platform_go_with_that_of_all(
    stack: Stack, swell: Swell, upstreams: Upstreams, shared: bool
) -> None:
    """The one that runs ends with its processes, the one that waits never begins; one that is wanted alone goes on."""
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
    """The processes of steps that sleep."""
    family = descendants(stack.pid("builder"))
    return {pid for pid in family if command_of(pid) == b"sleep\x00300\x00"}


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has ended in this moment
        return b""


async def children_of(swell: Swell, build_id: str) -> dict[str, str]:
    """The builds that *build_id* is made of, by platform."""
    _, record = await swell.get(f"/v1alpha1/builds/{build_id}")
    return {each["value"]: each["id"] for each in record["buildChildIds"]["refs"]}


async def test_the_operator_cancels_whatever_runs(swell: Swell, upstreams: Upstreams) -> None:
    told = await swell.build(sleeping(upstreams, "operated"), towerAccessToken=ADA)

    assert (await cancel(swell, told["buildId"], Authorization="Basic b3BzOndyb25n")).status == 401
    assert (await cancel(swell, told["buildId"], **LOGIN)).json["cancelled"]
    assert (await swell.ended(told["buildId"]))["reason"] == "cancelled"


async def test_what_was_cancelled_is_built_when_it_is_asked_for_again(swell: Swell, upstreams: Upstreams) -> None:
    recipe = f'FROM {upstreams.image()}\nRUN echo "again $((20 + 1))" && sleep 5\n'
    first = await swell.build(recipe)
    await cancel(swell, first["buildId"], {"requestId": first["requestId"]})

    second = await swell.build(recipe)

    assert second["buildId"] != first["buildId"]
    assert (await swell.ended(second["buildId"]))["succeeded"]
    assert not (await swell.ended(first["buildId"]))["succeeded"]


async def test_a_wish_outlives_the_builder(stack: Stack, swell: Swell, upstreams: Upstreams) -> None:
    """It dies before it can end the build; the next one does not begin it again."""
    told = await swell.build(sleeping(upstreams, "wished"))
    async with watching(swell, told["buildId"]) as watcher:
        await watcher.sees("wished 21")
        stack.kill("builder")
        assert (await cancel(swell, told["buildId"], {"requestId": told["requestId"]})).status == 200
        await stack.restart("builder")
        end = (await watcher.end())[-1]

    assert '"reason":"cancelled"' in end.data
    assert "wished 21" not in await swell.log(told["buildId"])


async def ends_told(stack: Stack) -> list[BuildDone]:
    """The ends of builds that were told to everybody."""
    async with AsyncExitStack() as opened:
        nats = await opened.enter_async_context(streams.connect(stack.env["SWELL_NATS_URL"], "test"))
        info = await nats.stream.stream_info("EVENTS", subjects_filter=BuildDone.subject)
        count = (info.state.subjects or {}).get(BuildDone.subject, 0)
        source = await nats.stream.subscribe(BuildDone.subject, ordered_consumer=True)
        return [msgspec.json.decode((await source.next_msg(5)).data, type=BuildDone) for _ in range(count)]
