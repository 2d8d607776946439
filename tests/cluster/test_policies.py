"""The NetworkPolicies of the chart, enforced by kube-router: what pods reach, from where they are."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.cluster.node import Cluster, until
from tests.cluster.release import upgrade

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]

BUILDER = "swell-builder.swell-builders.svc:9102"
CLIENTS = ["swell-gateway.swell.svc:9090", "swell-data.swell.svc:9091"]
BACKENDS = ["swell-redis.swell.svc:6379", "swell-nats.swell.svc:4222"]
STORE, REGISTRY = "swell-minio.swell.svc:9000", "swell-registry.swell.svc:5000"
CALLS = ["swell-registry-proxy.swell.svc:9101", BUILDER, "swell-metrics.swell.svc:9104"]
OPERATED = ["swell-gateway.swell.svc:9190", "swell-metrics.swell.svc:9190"]
EVERYTHING = [*CLIENTS, *BACKENDS, STORE, REGISTRY, *CALLS, *OPERATED]


@pytest.fixture(scope="module")
def jobs(swell: Cluster) -> Iterator[Cluster]:
    """The release with builds in Jobs, whose pods have a policy of their own."""
    upgrade(swell, builder={"where": "jobs"})
    yield swell
    upgrade(swell)


@pytest.mark.parametrize(
    ("namespace", "labels", "reached"),
    [
        ("default", {"app": "stranger"}, CLIENTS),
        ("monitoring", {"app": "prometheus"}, [*CLIENTS, *OPERATED]),
        ("swell-builders", {"app.kubernetes.io/name": "swell-build"}, [STORE, REGISTRY]),
        ("swell-builders", {"app": "anything"}, []),
    ],
    ids=["another pod", "Prometheus", "a Job", "another pod beside builds"],
)
def test_pods_reach_what_they_need(
    jobs: Cluster, namespace: str, labels: dict[str, str], reached: Sequence[str]
) -> None:
    """Clients reach two ports. Jobs reach no private network but the object store and the registry of trials."""
    assert open_ports(jobs, namespace, labels, EVERYTHING) == reached


def open_ports(cluster: Cluster, namespace: str, labels: dict[str, str], ports: Sequence[str]) -> list[str]:
    """Try *ports*, as `host:port`, from a pod with *labels*; return those that it reaches."""
    tries = "".join(
        f"/bin/busybox nc -w 3 {each.replace(':', ' ')} </dev/null >/dev/null 2>&1 && echo {each}\n" for each in ports
    )
    name = "-".join(("try", namespace, *labels.values()))
    namespaced: dict[str, Any] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    cluster.apply(namespaced, fieldManager="policies")
    container = {
        "name": "try",
        "image": "docker.io/library/swell-pause:1",
        "resources": {"limits": {"memory": "64Mi"}},  # the quota of builds asks for it
        "command": ["/bin/busybox", "sh", "-c", f"/bin/busybox sleep 15\n{tries}true"],  # until kube-router has seen it
    }
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": labels},
            "spec": {"containers": [container], "restartPolicy": "Never"},
        }
    )
    path = f"/api/v1/namespaces/{namespace}/pods/{name}"
    until(lambda: cluster.get(path)["status"]["phase"] == "Succeeded", cluster)
    text = cluster.http.get(f"{path}/log").raise_for_status().text
    cluster.http.delete(path).raise_for_status()
    return text.split()
