"""The operator's API at a running stack: workers, queue, dead letters, tokens, registries, storage."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from swell.jobs import streams
from swell_embedded.stack import Stack
from tests.e2e.client import PLAIN, Swell, encoded, until
from tests.e2e.raw import LOGIN, SUBMIT, ask, operated_beside
from tests.e2e.upstreams import Upstreams

OPERATOR = "/v1alpha2/operator"


@pytest.fixture(scope="module")
async def operated(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swell]:
    async with operated_beside(stack, tmp_path_factory.mktemp("operated")) as client:
        yield client


async def read(operated: Swell, path: str) -> Any:
    answer = await ask(operated, "GET", f"{OPERATOR}{path}", None, **LOGIN)
    assert answer.status == 200, answer.body
    return answer.json


PATHS = (
    ("GET", "/workers"),
    ("GET", "/workers/x"),
    ("POST", "/workers/x/drain"),
    ("POST", "/workers/x/resume"),
    ("GET", "/queue"),
    ("GET", "/queue/builds"),
    ("GET", "/dead-letters"),
    ("POST", "/dead-letters/1/replay"),
    ("DELETE", "/dead-letters/1"),
    ("POST", "/tokens/revoke"),
    ("POST", "/organisations/remove"),
    ("GET", "/registries"),
    ("GET", "/storage"),
    ("GET", "/audit"),
)


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_only_operators_may_use_it(operated: Swell, method: str, path: str) -> None:
    """Strangers get 401, and users without the scope `administer` 403."""
    body = {"user": "x", "organisation": "x"} if path.endswith(("revoke", "remove")) else None
    assert (await ask(operated, method, f"{OPERATOR}{path}", body)).status == 401
    user = {"Authorization": f"Bearer {PLAIN}"}
    assert (await ask(operated, method, f"{OPERATOR}{path}", body, **user)).status == 403


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/workers?limit=0", 400),
        ("GET", "/workers?limit=101", 400),
        ("GET", "/queue/builds?cursor=-1", 400),
        ("GET", f"/queue?cursor={'x' * 400}", 400),
        ("GET", "/dead-letters?cursor=x", 400),
        ("GET", "/audit?cursor=1", 400),
        ("GET", f"/audit?cursor={'9' * 30}.1", 400),
        ("GET", "/workers/unknown-1", 404),
        ("POST", "/workers/unknown-1/drain", 404),
        ("POST", "/dead-letters/77777/replay", 404),
        ("DELETE", f"/dead-letters/{'9' * 30}", 404),
        ("DELETE", f"/dead-letters/{'9' * 5000}", 404),
        ("DELETE", "/dead-letters/x", 404),
    ],
)
async def test_wrong_parameters_are_the_clients_fault(operated: Swell, method: str, path: str, status: int) -> None:
    """Numbers are bounded before they reach a backend."""
    assert (await ask(operated, method, f"{OPERATOR}{path}", None, **LOGIN)).status == status


async def test_workers_registries_and_storage_are_listed(operated: Swell, upstreams: Upstreams) -> None:
    """All of them are of this stack: its builder with its platform and disk, the registry of a pull, the streams."""
    await operated.build(f"FROM {upstreams.image()}\nENV OPERATOR=reads\n")

    async def builder() -> dict[str, Any] | None:
        workers = (await read(operated, "/workers?service=builder"))["workers"]
        return workers[0] if workers else None

    found = await until(builder)
    assert found["slots"] and found["engine"] and found["platforms"]
    assert (await read(operated, f"/workers/{found['id']}"))["id"] == found["id"]
    use = await read(operated, "/storage")
    assert {stream["name"] for stream in use["streams"]} >= {"JOBS", "EVENTS"}
    assert "workspace" in str(use["disks"]) and "spool" in str(use["caches"])

    async def is_seen() -> bool:
        return upstreams.image().partition("/")[0] in str(await read(operated, "/registries?limit=100"))

    await until(is_seen)


async def test_a_drained_builder_takes_no_build_until_it_is_resumed(operated: Swell, upstreams: Upstreams) -> None:
    """The build waits in the queue meanwhile, which shows it."""
    page = await ask(operated, "GET", f"{OPERATOR}/workers?service=builder", None, **LOGIN)
    path = f"{OPERATOR}/workers/{page.json['workers'][0]['id']}"
    drained = await ask(operated, "POST", f"{path}/drain", None, **LOGIN)
    assert (drained.status, drained.json["drained"]) == (200, True)
    try:
        await until_paused(operated, path)
        recipe = {"containerFile": encoded(f"FROM {upstreams.image()}\nENV OPERATOR=drains\n")}
        build_id = (await ask(operated, "POST", SUBMIT, recipe)).json["buildId"]

        async def queued() -> dict[str, Any] | None:
            builds = (await read(operated, "/queue/builds"))["builds"]
            return next((each for each in builds if each["id"] == build_id), None)

        shown = await until(queued)
        assert (shown["state"], shown["position"]) == ("ready", 1)
        clients = (await read(operated, "/queue"))["clients"]
        assert shown["client"] in str(clients)
    finally:
        assert (await ask(operated, "POST", f"{path}/resume", None, **LOGIN)).json.get("drained") is None

    async def ended() -> bool:
        status = await ask(operated, "GET", f"/v1alpha1/builds/{build_id}/status")
        return bool(status.json["status"] == "COMPLETED")

    await until(ended, seconds=120)


async def until_paused(operated: Swell, path: str) -> None:
    """Wait until the builder reports that it takes no jobs."""

    async def is_paused() -> bool:
        return bool((await ask(operated, "GET", path, None, **LOGIN)).json.get("paused"))

    await until(is_paused)


async def test_dead_letters_are_replayed_and_discarded(operated: Swell, stack: Stack) -> None:
    """A letter that is replayed is delivered again; here it is unreadable, so it becomes another letter."""
    async with streams.connect(stack.env["SWELL_NATS_URL"], "test") as nats:
        await nats.stream.publish("jobs.build.bd-00000000000000ff_1", b'{"id": "bd-00000000000000ff_1", "platform": 7}')

    async def letter() -> dict[str, Any] | None:
        page = await read(operated, "/dead-letters?limit=100")
        letters = page["deadLetters"]
        return next((each for each in letters if each.get("jobId") == "bd-00000000000000ff_1"), None)

    first = await until(letter)
    assert first["subject"] == "jobs.build.bd-00000000000000ff_1" and "cannot be read" in str(first["reason"])
    path = f"{OPERATOR}/dead-letters"
    assert (await ask(operated, "POST", f"{path}/{first['number']}/replay", None, **LOGIN)).status == 200

    async def is_back() -> dict[str, Any] | None:
        found = await letter()
        return found if found and found["number"] != first["number"] else None

    second = await until(is_back)
    assert (await ask(operated, "DELETE", f"{path}/{second['number']}", None, **LOGIN)).status == 200
    assert (await ask(operated, "DELETE", f"{path}/{second['number']}", None, **LOGIN)).status == 404
    assert await letter() is None


async def test_tokens_of_an_image_are_revoked_at_every_gateway(
    operated: Swell, swell: Swell, upstreams: Upstreams
) -> None:
    """The other gateway has the grants in memory."""
    image = upstreams.image("docker-list")
    tokens = [(await ask(swell, "POST", SUBMIT, {"containerImage": image})).json["containerToken"] for _ in range(2)]
    name = image.partition("/")[2].rpartition(":")[0]

    async def statuses() -> set[int]:
        paths = [f"/v2/wt/{token}/{name}/manifests/{image.rpartition(':')[2]}" for token in tokens]
        return {(await ask(swell, "GET", path)).status for path in paths}

    assert await statuses() == {200}
    counted = await ask(operated, "POST", f"{OPERATOR}/tokens/revoke", {"image": image, "dryRun": True}, **LOGIN)
    assert counted.json["revoked"] >= 2
    assert await statuses() == {200}
    assert (await ask(operated, "POST", f"{OPERATOR}/tokens/revoke", {"image": image}, **LOGIN)).json["revoked"] >= 2

    async def are_refused() -> bool:
        return await statuses() <= {401, 404}

    await until(are_refused)
