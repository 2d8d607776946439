"""The operator reads how much was built and pulled."""

from pathlib import Path

from swell.rpc.channel import call, connect
from swell.rpc.v1.counters_pb2 import GetCountRequest
from swell.rpc.v1.counters_pb2_grpc import CountersStub
from swell_embedded.stack import Stack
from tests.e2e.client import client_of, until
from tests.e2e.conftest import OpenStack
from tests.e2e.engines import pull
from tests.e2e.upstreams import Upstreams


async def test_every_build_and_every_pull_is_counted(
    new_stack: OpenStack, upstreams: Upstreams, tmp_path: Path
) -> None:
    """A build that failed was one too; a pull is one image, however many requests it takes."""
    async with new_stack(tmp_path / "home") as stack, client_of(stack.url) as swell:
        good = await swell.build(f"FROM {upstreams.image()}\nENV A=b\n")
        bad = await swell.build(f"FROM {upstreams.image()}\nRUN false\n")
        for answer in (good, bad):
            await swell.ended(answer["buildId"])
        ran = await pull(good["targetImage"], tmp_path / "image")
        assert ran.status == 0, ran.output

        async def both() -> tuple[int, int] | None:
            found = await counted(stack, "builds"), await counted(stack, "pulls")
            return found if all(found) else None

        assert await until(both) == (2, 1)


async def counted(stack: Stack, metric: str) -> int:
    """How many "builds" or "pulls" the metrics service has counted, ever."""
    async with connect(stack.env["SWELL_METRICS"]) as channel:
        answer = await call("metrics", CountersStub(channel).GetCount, GetCountRequest(metric=metric), seconds=10)
    return int(answer.count)
