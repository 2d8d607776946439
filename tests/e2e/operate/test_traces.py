"""A request is one trace from the POST to the pushed digest, in real services and a real collector."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from swell_embedded.stack import Stack
from tests.e2e.client import client_of, until
from tests.e2e.environment import gateway_beside
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running
from tests.otlp_receiver import OtlpReceiver, ReceivedSpan

CLIENT_TRACE = "0af7651916cd43dd8448eb211c80319c"
FORCING = {"traceparent": f"00-{CLIENT_TRACE}-b7ad6b7169203331-01"}


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[OtlpReceiver]:
    async with OtlpReceiver.open() as opened:
        yield opened


@pytest.fixture(scope="module")
async def stack(
    new_stack: OpenStack, receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """A stack that samples each request."""
    home = tmp_path_factory.mktemp("traced")
    async with new_stack(home, TRACES_URL=receiver.url, TRACE_SAMPLING="1") as opened:
        yield opened


def named(spans: list[ReceivedSpan], service: str, name: str) -> list[ReceivedSpan]:
    return [each for each in spans if (each.service, each.name) == (service, name)]


async def test_a_build_is_one_trace_and_its_pull_is_linked(
    stack: Stack, receiver: OtlpReceiver, upstreams: Upstreams
) -> None:
    """The trace goes over HTTP, NATS and gRPC: request, job, phases of the build with the digest, requests to the
    registry. The first pull is a trace of its own that is linked to it.
    """
    async with client_of(stack.url) as client:
        build = await client.build(f"FROM {upstreams.image()}\nENV TRACED=1\n")
        ended = await client.ended(build["buildId"])
        path = "/v2/" + build["targetImage"].partition("/")[2].replace(":", "/manifests/")
        assert (await client.read(path))[0] == 200
        _, record = await client.get(f"/v1alpha1/builds/{build['buildId']}")
    assert ended["succeeded"]

    async def pull() -> ReceivedSpan | None:
        pulls = [each for each in named(receiver.spans, "gateway", "GET /v2/manifests") if each.links]
        calls = receiver.of_trace(pulls[0].trace_id) if pulls else []
        called = named(calls, "gateway", "call registry proxy") and named(calls, "registry-proxy", "GetManifest")
        return pulls[0] if called else None

    (trace_id,) = (await until(pull)).links
    assert record["traceId"] == trace_id

    async def whole() -> list[ReceivedSpan] | None:
        """The spans of the trace when each parent has arrived, and the last of them, too."""
        spans = receiver.of_trace(trace_id)
        has_parents = {each.parent_id for each in spans} <= {"", *(each.span_id for each in spans)}
        return spans if has_parents and named(spans, "builder", "handle jobs.build") else None

    spans = await until(whole)
    by_id = {each.span_id: each for each in spans}
    (root,) = [each for each in spans if not each.parent_id]
    assert (root.service, root.name) == ("gateway", "POST /v1alpha2/container")
    assert root.attributes["http.response.status_code"] == 200 and root.links == []
    (run,) = named(spans, "builder", "run build")
    assert run.attributes["swell.build_id"] == build["buildId"]
    assert str(run.attributes["swell.digest"]).startswith("sha256:")
    handled = by_id[run.parent_id]
    assert (handled.name, handled.kind) == ("handle jobs.build", "CONSUMER")
    assert by_id[handled.parent_id].name == "publish jobs.build"


async def test_a_client_cannot_force_sampling(stack: Stack, tmp_path: Path) -> None:
    """Its trace is a link of ours and a field of the log; otherwise strangers could fill the trace store."""
    received = {}
    for share in ("0", "1"):
        async with OtlpReceiver.open() as receiver:
            url, gateway = gateway_beside(stack, f"sampling-{share}", TRACES_URL=receiver.url, TRACE_SAMPLING=share)
            async with (
                running(gateway, tmp_path),
                aiohttp.ClientSession(headers=FORCING) as session,
                session.post(f"{url}/v1alpha2/container", json={}) as response,
            ):
                trace_id = (await response.json())["traceId"]
            received[share] = receiver.of_trace(trace_id)
            logged = (tmp_path / f"sampling-{share}.log").read_text()
        assert trace_id != CLIENT_TRACE and not receiver.of_trace(CLIENT_TRACE)
        assert f'"client_trace_id": "{CLIENT_TRACE}"' in logged
    (refused,) = received["1"]
    assert received["0"] == [] and refused.links == [CLIENT_TRACE]
    assert refused.attributes["http.response.status_code"] == 400
