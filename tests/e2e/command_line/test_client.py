"""`swell_client` with the running stack: build, wait with the log, pull; failures; cancelling; both clients."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from swell_client import AsyncClient, BuildFailed, Client, NotDone, RequestFailed
from swell_client.events import Ended, Progress, StepChanged
from swell_embedded.stack import Stack
from tests.e2e.client import PLAIN
from tests.e2e.engines import pull
from tests.e2e.upstreams import Upstreams


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(stack.url, token="") as opened:
        yield opened


async def test_a_build_with_a_context_is_waited_for_and_pulled(
    client: AsyncClient, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Five lines of Python: the log arrives while the build runs, and skopeo pulls what is returned."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "hello.txt").write_text("from the context")
    file = context / "Dockerfile"
    file.write_text(f"FROM {upstreams.image()}\nCOPY hello.txt /\nRUN cat /hello.txt; echo; echo $((40 + 2))\n")
    lines, events = list[str](), list[Progress]()

    container = await client.build(file, context=context)
    image = await container.wait(log=lines.append, progress=events.append, timeout=120)

    assert any("from the context" in line for line in lines)
    assert any(line.endswith(" 42") for line in lines)
    assert [event.end.succeeded for event in events if isinstance(event, Ended)] == [True]
    assert any(isinstance(event, StepChanged) and event.step.ended for event in events)
    assert "\n".join(lines) + "\n" == await client.log(container.build_id)
    ran = await pull(image, tmp_path / "pulled")
    assert ran.status == 0, ran.output


def test_the_sync_client_builds_and_augments(stack: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """Scripts need no event loop. A second request of the same build needs no wait."""
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "tool").write_text("#!/bin/sh\n")
    with Client(stack.url, token="") as swell:
        built = swell.build(f"FROM {upstreams.image()}\nRUN echo sync\n")
        image = built.wait(timeout=120)
        again = swell.build(f"FROM {upstreams.image()}\nRUN echo sync\n")
        augmented = swell.augment(upstreams.image(), env={"A": "1"}, layers=[layer])
        inspected = swell.inspect(upstreams.image())
    command = ("skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{augmented.wait()}")
    config = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["config"]

    assert image == built.target_image
    assert (again.answer.cached, again.answer.succeeded) == (True, True)
    assert "A=1" in config["Env"]
    assert {"container", "index"} & inspected.keys()


async def test_a_failure_has_its_reason(client: AsyncClient, upstreams: Upstreams) -> None:
    """The exception says what failed, and where the log is."""
    container = await client.build(f'FROM {upstreams.image()}\nRUN echo "said $((6 * 7))" && exit 3\n')

    with pytest.raises(BuildFailed, match="exit status 3") as caught:
        await container.wait(log=lambda _: None, timeout=120)

    assert container.build_id in caught.value.details_uri


async def test_waiting_ends_and_a_build_can_be_cancelled(client: AsyncClient, upstreams: Upstreams) -> None:
    """The build continues after the time to wait; cancelling ends it."""
    container = await client.build(f"FROM {upstreams.image()}\nRUN sleep 300\n")
    with pytest.raises(NotDone):
        await container.wait(timeout=0.5)

    cancelled = await container.cancel()

    assert cancelled.cancelled
    with pytest.raises(BuildFailed, match="cancelled"):
        await container.wait(timeout=60)


async def test_a_refusal_says_what_to_do(client: AsyncClient, stack: Stack) -> None:
    """The texts are the server's."""
    with pytest.raises(RequestFailed) as caught:
        await client.augment("Not An Image")
    assert (caught.value.status, caught.value.details.side) == (400, "client")

    async with AsyncClient(stack.url, token="wrong") as stranger:
        with pytest.raises(RequestFailed) as caught:
            await stranger.build("FROM scratch\n", dry_run=True)
    assert caught.value.status == 401


async def test_many_requests_of_one_client_at_once(stack: Stack, upstreams: Upstreams) -> None:
    """One client serves all tasks of a program."""
    async with AsyncClient(stack.url, token=PLAIN) as swell:
        answers = await asyncio.gather(*(swell.augment(upstreams.image(), env={"N": str(n)}) for n in range(20)))
        info = await swell.service_info()

    assert len({answer.target_image for answer in answers}) == 20
    assert info["version"].startswith("1.")
