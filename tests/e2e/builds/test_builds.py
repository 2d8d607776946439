"""A build from the request to the pull, as a client sees it."""

import asyncio
from pathlib import Path

from tests.e2e.client import Swell, log_path, until
from tests.e2e.engines import pull
from tests.e2e.upstreams import Upstreams

# The log quotes each step, so its output is computed: only a step that ran can print it.
SLOW = 'RUN echo "first $((20 + 1))" && sleep 6 && echo "last $((20 + 2))"'


async def test_a_pull_that_begins_before_the_build_has_ended_waits_for_it(
    swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The image name is returned at once and works at once: clients need not poll."""
    answer = await swell.build(f"FROM {upstreams.image()}\nRUN sleep 5\n")
    assert (answer["cached"], answer.get("succeeded")) == (False, None)
    assert (await swell.build_status(answer["buildId"]))["status"] == "PENDING"

    ran = await pull(answer["targetImage"], tmp_path)

    assert ran.status == 0, ran.output
    assert (await swell.build_status(answer["buildId"]))["succeeded"] is True


async def test_lines_of_the_log_can_be_read_while_the_build_runs(swell: Swell, upstreams: Upstreams) -> None:
    """Users of a long build see its progress. After the end, the log is complete."""
    build_id = (await swell.build(f"FROM {upstreams.image()}\n{SLOW}\n"))["buildId"]

    async def begun() -> str | None:
        log = await swell.log(build_id)
        return log if "first 21" in log else None

    partial = await until(begun)
    assert "last 22" not in partial
    assert (await swell.build_status(build_id))["status"] == "PENDING"

    await swell.ended(build_id)
    assert (await swell.log(build_id)).startswith(partial)
    assert "last 22" in await swell.log(build_id)


async def test_a_pull_of_a_failed_build_shows_the_reason(swell: Swell, upstreams: Upstreams, tmp_path: Path) -> None:
    """The client's output contains the reason and the address of the log, as do the status and the log."""
    answer = await swell.build(f'FROM {upstreams.image()}\nRUN echo "said $((6 * 7))" && false\n')
    build_id, page = answer["buildId"], swell.url + log_path(answer["buildId"])

    ran = await pull(answer["targetImage"], tmp_path)

    assert ran.status != 0
    assert "ended with exit status 1" in ran.output
    assert page in ran.output
    _, status = await swell.get(f"/v1alpha2/container/{answer['requestId']}/status")
    assert (status["status"], status["succeeded"]) == ("DONE", False)
    assert status["detailsUri"] == f"{swell.url}/view/builds/{build_id}"
    assert "ended with exit status 1" in status["reason"]
    assert "said 42" in await swell.log(build_id)
    _, record = await swell.get(f"/v1alpha1/builds/{build_id}")
    assert record["exitStatus"] == 1


async def test_a_new_request_repeats_a_failed_build(swell: Swell, upstreams: Upstreams) -> None:
    """The cause may be gone. The first failure stays on record under its own number."""
    containerfile = f"FROM {upstreams.image()}\nRUN exit 3 # again and again\n"
    first = (await swell.build(containerfile))["buildId"]
    await swell.ended(first)

    second = (await swell.build(containerfile))["buildId"]

    assert first.endswith("_1") and second == first.removesuffix("1") + "2"
    await swell.ended(second)
    assert (await swell.build_status(first))["succeeded"] is False


async def test_a_hundred_same_requests_at_once_are_one_build_and_a_hundred_tokens(
    swell: Swell, upstreams: Upstreams
) -> None:
    """The tasks of a workflow start together. Each gets its own name, and every name can be pulled."""
    containerfile = f"FROM {upstreams.image()}\nRUN echo for all > /all.txt\n"

    answers = await asyncio.gather(*(swell.build(containerfile) for _ in range(100)))

    assert {answer["buildId"].rpartition("_")[2] for answer in answers} == {"1"}
    assert len({answer["targetImage"] for answer in answers}) == 100
    manifests = await asyncio.gather(*(swell.bytes(manifest_path(answer["targetImage"])) for answer in answers))
    assert len(set(manifests)) == 1


async def test_a_repeated_request_returns_the_existing_image(
    swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """`cached` means that no build was started; the response names the earlier build."""
    containerfile = f"FROM {upstreams.image()}\nRUN echo once > /once.txt\n"
    first = await swell.build(containerfile)
    await swell.ended(first["buildId"])

    again = await swell.build(containerfile)

    assert (again["buildId"], again["cached"], again["succeeded"]) == (first["buildId"], True, True)
    assert again["containerToken"] != first["containerToken"]
    ran = await pull(again["targetImage"], tmp_path)
    assert ran.status == 0, ran.output


def manifest_path(image: str) -> str:
    """Return the path of the manifest of *image*, a name with a token."""
    name, _, tag = image.partition("/")[2].rpartition(":")
    return f"/v2/{name}/manifests/{tag}"
