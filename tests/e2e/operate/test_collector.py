"""A real OpenTelemetry collector with deploy/observe/collector.yml, at the version of docker-compose.yml."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from swell.programs import find
from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.client import client_of, until
from tests.e2e.environment import of_this_machine
from tests.e2e.stacks import OpenStack
from tests.e2e.upstreams import Upstreams, running
from tests.otlp_receiver import OtlpReceiver

CONFIG = Path("deploy/observe/collector.yml").absolute()

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[OtlpReceiver]:
    async with OtlpReceiver.open() as opened:
        yield opened


@pytest.fixture(scope="module")
async def collector(receiver: OtlpReceiver, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The URL of the collector. Another pipeline takes the place of Tempo: OTLP over gRPC, as Tempo receives it."""
    (program,) = find("testing/collector", "otelcol") or pytest.fail("run deploy/testing/collector/build.sh first")
    home = tmp_path_factory.mktemp("collector")
    ports = Ports.free()
    store = {
        "receivers": {"otlp/store": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{ports.data}"}}}},
        "exporters": {"otlphttp/store": {"traces_endpoint": receiver.url, "compression": "none"}},
        "service": {
            "pipelines": {"traces/store": {"receivers": ["otlp/store"], "exporters": ["otlphttp/store"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    (home / "store.yml").write_text(yaml.safe_dump(store))
    command = (
        *(str(program), f"--config={CONFIG}", f"--config={home}/store.yml"),
        f"--set=receivers.otlp.protocols.http.endpoint=127.0.0.1:{ports.gateway}",
        f"--set=exporters.otlp.endpoint=127.0.0.1:{ports.data}",
    )
    ready = probes.tcp(ports.gateway)
    async with running(Program(name="collector", command=command, environment=of_this_machine(), ready=ready), home):
        yield f"http://127.0.0.1:{ports.gateway}/v1/traces"


@pytest.fixture(scope="module")
async def stack(new_stack: OpenStack, collector: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with new_stack(tmp_path_factory.mktemp("traced"), TRACES_URL=collector, TRACE_SAMPLING="1") as opened:
        yield opened


async def test_spans_of_all_services_pass_the_collector(
    stack: Stack, receiver: OtlpReceiver, upstreams: Upstreams
) -> None:
    """The record of a build has the trace id by which the trace store finds its spans."""
    async with client_of(stack.url) as client:
        build = await client.build(f"FROM {upstreams.image()}\nENV COLLECTED=1\n")
        await client.ended(build["buildId"])
        _, record = await client.get(f"/v1alpha1/builds/{build['buildId']}")

    async def whole() -> bool:
        spans = receiver.of_trace(record["traceId"])
        return {"gateway", "builder", "registry-proxy"} <= {each.service for each in spans}

    await until(whole)
