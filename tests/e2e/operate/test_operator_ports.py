"""The operator port of each real service: metrics and probes."""

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from swell_embedded.ports import OPERATED
from swell_embedded.stack import Stack
from tests.e2e.client import Swell, until
from tests.e2e.upstreams import Upstreams

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def read(stack: Stack, service: str, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{stack.ports.operator_of(service)}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def samples(stack: Stack, service: str) -> Samples:
    """The values of *service* by their names and labels."""
    status, text = await read(stack, service, "/metrics")
    assert status == 200
    families = text_string_to_metric_families(text)
    return {(each.name, frozenset(each.labels.items())): each.value for family in families for each in family.samples}


def total(values: Samples, name: str, **labels: str) -> float:
    """The sum of the values with *name* and at least *labels*."""
    return sum(value for (each, found), value in values.items() if each == name and labels.items() <= set(found))


@pytest.mark.parametrize("service", OPERATED)
async def test_every_service_serves_probes_and_metrics(stack: Stack, service: str) -> None:
    """An orchestrator and Prometheus need no other port."""
    assert (await read(stack, service, "/live"))[0] == 200
    assert (await read(stack, service, "/ready"))[0] == 200
    values = await samples(stack, service)
    assert total(values, "swell_service_info", service=service) == 1
    assert total(values, "process_resident_memory_bytes") > 0


async def test_requests_calls_and_jobs_are_counted(stack: Stack, swell: Swell, upstreams: Upstreams) -> None:
    """A pull counts by its route in the gateway, as a call in the registry-proxy, and as requests to its registry;
    the second pull is a hit in the cache of the gateway. A build counts as a job of the builder.
    """
    before = {service: await samples(stack, service) for service in OPERATED}
    answer = await swell.submit(containerImage=upstreams.image(), containerConfig={"env": ["OPERATOR=1"]})
    path = "/v2/" + answer["targetImage"].partition("/")[2].replace(":", "/manifests/")
    assert (await swell.read(path))[0] == (await swell.read(path))[0] == 200
    build = await swell.build(f"FROM {upstreams.image()}\nENV OPERATOR=1\n")
    await swell.ended(build["buildId"])

    async def grown(service: str, name: str, **labels: str) -> float:
        return total(await samples(stack, service), name, **labels) - total(before[service], name, **labels)

    route = {"route": "/v2/manifests", "method": "GET", "status": "200"}
    assert await grown("gateway", "swell_http_seconds_count", **route) >= 2
    assert await grown("gateway", "swell_http_seconds_count", route="/v1alpha2/container", method="POST") >= 2
    assert await grown("gateway", "swell_cache_lookups_total", cache="pulls", result="hit") >= 1
    assert await grown("gateway", "swell_rpc_client_seconds_count", callee="registry proxy", code="OK") >= 1
    assert await grown("registry-proxy", "swell_rpc_seconds_count", method="GetManifest", code="OK") >= 1
    registry = upstreams.image().partition("/")[0]
    assert await grown("registry-proxy", "swell_upstream_seconds_count", upstream=registry, outcome="2xx") >= 1

    async def handled() -> bool:
        return await grown("builder", "swell_job_seconds_count", consumer="builder", outcome="done") >= 1

    await until(handled)


async def test_text_of_clients_is_no_label(stack: Stack, swell: Swell) -> None:
    """Names that a client chooses would fill the memory of the services, and show its images to readers of metrics."""
    marks = ("chosen-route", "chosen-host.example.com", "chosentoken123")
    await swell.read(f"/{marks[0]}/{marks[0]}")
    await swell.read(f"/v2/wt/{marks[2]}/library/{marks[0]}/manifests/latest")
    await swell.post(containerImage=f"{marks[1]}/team/{marks[0]}:1")
    for service in OPERATED:
        _, text = await read(stack, service, "/metrics")
        assert not [mark for mark in marks if mark in text]


async def test_the_queue_and_its_builds_are_visible(stack: Stack, swell: Swell, upstreams: Upstreams) -> None:
    """A running build is seen by its phase and in the queue; when it has ended, by its outcome."""
    before = await samples(stack, "builder")
    build = await swell.build(f"FROM {upstreams.image()}\nRUN sleep 7 # visible\n")

    async def is_running() -> bool:
        builder, queue = await samples(stack, "builder"), await samples(stack, "metrics")
        phase = total(builder, "swell_builds_running", kind="build", phase="run")
        return phase >= 1 and total(queue, "swell_builds", state="running") >= 1

    await until(is_running)
    assert (await swell.ended(build["buildId"]))["succeeded"]

    async def is_counted() -> bool:
        name, after = "swell_build_seconds_count", await samples(stack, "builder")
        return total(after, name, outcome="succeeded") > total(before, name, outcome="succeeded")

    await until(is_counted)
    assert total(await samples(stack, "metrics"), "swell_stream_messages", stream="EVENTS") >= 1
