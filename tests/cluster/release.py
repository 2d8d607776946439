"""The chart on the cluster of tests: install and upgrade it, and use what it has started."""

import json
import os
import subprocess
from base64 import b64encode
from typing import Any

import httpx
import pytest
import yaml
from tools.kustomize import CHART

from swell.programs import find
from tests.cluster.node import ADDRESS, Cluster, until

GATEWAY = "http://swell-gateway.swell.svc.cluster.local:9090"
REGISTRY = "swell-registry.swell.svc:5000"
BASE = f"{REGISTRY}/library/busybox:1"
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
VALUES: dict[str, Any] = {
    "serverUrl": GATEWAY,
    "dataUrl": "http://swell-data.swell.svc.cluster.local:9091",
    "trial": {"enabled": True, "storage": "1Gi"},
    "networkPolicy": {"dns": [{"ipBlock": {"cidr": f"{ADDRESS}/32"}}]},
    "gateway": {"replicas": 1, "resources": SMALL},
    "registryProxy": {"replicas": 1, "resources": SMALL, "spoolGiB": 1},
    "metrics": {"replicas": 1, "resources": SMALL},
    "builder": {
        "createNamespace": False,
        "buildMemoryGiB": 1,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "4Gi"}},
        "workspace": {"size": "8Gi"},
    },
}


def helm(cluster: Cluster, *arguments: str, values: dict[str, Any] | None = None) -> str:
    """Run helm, with VALUES and *values* for commands that take them."""
    (program,) = find("helm", "helm") or pytest.fail("helm is missing: run 'make helm'")
    environment = os.environ | {"KUBECONFIG": str(cluster.config), "HELM_CACHE_HOME": str(cluster.home / "helm")}
    text = yaml.safe_dump(values or {})
    command = [str(program), *arguments, "--namespace", "swell"]
    done = subprocess.run(
        command, input=text, env=environment, capture_output=True, text=True, timeout=1500, check=False
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}\n{problems(cluster)}"
    return done.stdout


def problems(cluster: Cluster) -> str:
    """Describe pods that are not ready, with the end of their logs."""
    lines = []
    for pod in cluster.get("/api/v1/pods")["items"]:
        metadata, statuses = pod["metadata"], pod["status"].get("containerStatuses", ())
        if not all(each["ready"] for each in statuses) or not statuses:
            lines.append(f"{metadata['name']}: {pod['status']}")
            folder = f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
            logs = sorted((cluster.home / "pods" / folder).rglob("*.log"))
            lines += [each.read_text(errors="replace")[-1500:] for each in logs]
    return "\n".join(lines)


def upgrade(cluster: Cluster, **changed: dict[str, Any]) -> None:
    """Install the chart, or upgrade it, with VALUES and what is *changed* in them."""
    values = {**VALUES, **{name: {**VALUES.get(name, {}), **fields} for name, fields in changed.items()}}
    options = ("--install", "--wait", "--timeout", "20m", "--values", "-")
    helm(cluster, "upgrade", "swell", str(CHART), *options, values=values)


def submit(*steps: str) -> dict[str, Any]:
    text = "".join(f"{line}\n" for line in (f"FROM {BASE}", *steps))
    response = httpx.post(
        f"{GATEWAY}/v1alpha2/container", json={"containerFile": b64encode(text.encode()).decode()}, timeout=60
    )
    assert response.is_success, response.text
    answer: dict[str, Any] = response.json()
    return answer


def status(build: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = httpx.get(f"{GATEWAY}/v1alpha1/builds/{build['buildId']}/status", timeout=60).json()
    return fields


def log(build: dict[str, Any]) -> str:
    return httpx.get(f"{GATEWAY}/v1alpha1/builds/{build['buildId']}/logs", timeout=60).text


def succeeded(build: dict[str, Any], cluster: Cluster) -> bool:
    until(lambda: status(build)["status"] == "COMPLETED", cluster)
    assert status(build)["succeeded"], log(build)
    return True


def has_begun(build: dict[str, Any], text: str) -> bool:
    """Whether a step of *build* has printed *text*; its own line has it, too."""
    return text in log(build).replace(f"echo {text}", "")


def builders(cluster: Cluster) -> int:
    """The number of ready builders."""
    status = cluster.get("/apis/apps/v1/namespaces/swell-builders/deployments/swell-builder")["status"]
    return int(status.get("readyReplicas", 0))


def revision(cluster: Cluster) -> str:
    history = json.loads(helm(cluster, "history", "swell", "--output", "json"))
    return str(history[-1]["revision"])
