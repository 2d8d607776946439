"""Services that scale by themselves: builders by KEDA, the gateway by a HorizontalPodAutoscaler."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.cluster.addons import PROMETHEUS, start_keda, start_metrics_server, start_prometheus
from tests.cluster.node import Cluster, until
from tests.cluster.release import GATEWAY, builders, log, submit, succeeded, upgrade

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]

BUILDS = 4
OF_A_CLIENT = 2
QUICK = {"afterSeconds": 20, "everySeconds": 15}


def test_builders_follow_the_builds_that_wait_and_run(swell: Cluster) -> None:
    """KEDA adds builders for builds in Redis, too: here NATS has only half of them. Builders that it removes, or may
    remove, while they build finish their builds, which are not begun twice; one builder stays.
    """
    start_prometheus(swell)
    start_keda(swell)
    keda = {"enabled": True, "prometheus": PROMETHEUS, "maxReplicas": 3, "scaleDown": QUICK}
    upgrade(
        swell,
        keda=keda,
        builder={"concurrency": 1},
        gateway={"settings": {"SWELL_BUILDS_AT_ONCE": str(OF_A_CLIENT)}},
    )
    until(lambda: condition(swell, "Ready"), swell)
    assert builders(swell) == 1

    long = [submit(f"RUN echo long {number} && sleep 150") for number in range(BUILDS)]
    until(lambda: in_redis(swell) == BUILDS - OF_A_CLIENT, swell)
    until(lambda: builders(swell) == 3, swell, 600)

    for build in long:
        assert succeeded(build, swell)
        assert "attempt 2" not in log(build)
    until(lambda: builders(swell) == 1, swell, 600)
    assert succeeded(submit("RUN echo after the scaling"), swell)


def in_redis(cluster: Cluster) -> int:
    """The number of builds above the limit of their client, as Prometheus has it."""
    query = {"query": 'max(swell_builds{state="waiting"})'}
    answer = cluster.http.get(f"{PROMETHEUS}/api/v1/query", params=query).raise_for_status().json()
    return int(answer["data"]["result"][0]["value"][1]) if answer["data"]["result"] else 0


def condition(cluster: Cluster, name: str) -> bool:
    path = "/apis/keda.sh/v1alpha1/namespaces/swell-builders/scaledobjects/swell-builder"
    conditions = cluster.get(path)["status"]["conditions"]
    assert {"type": name, "status": "True"}.items() <= next(
        each for each in conditions if each["type"] == name
    ).items(), conditions
    return True


def test_gateways_follow_their_load(swell: Cluster) -> None:
    """The autoscaler reads the CPU use of pods and adds a gateway."""
    start_metrics_server(swell)
    autoscaling = {"enabled": True, "minReplicas": 1, "maxReplicas": 2, "cpuPercent": 100}
    resources = {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
    upgrade(swell, gateway={"autoscaling": autoscaling, "resources": resources})
    assert gateways(swell) == 1

    with load():
        until(lambda: gateways(swell) == 2, swell, 400)
    upgrade(swell)
    until(lambda: gateways(swell) == 1, swell)


def gateways(cluster: Cluster) -> int:
    status = cluster.get("/apis/apps/v1/namespaces/swell/deployments/swell-gateway")["status"]
    return int(status.get("readyReplicas", 0))


@contextmanager
def load() -> Iterator[None]:
    """Send requests one after the other while the block runs."""
    stop = threading.Event()

    def run() -> None:
        with httpx.Client(timeout=60) as client:
            while not stop.is_set():
                client.get(f"{GATEWAY}/openapi.json")

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(90)
