"""The chart on a real cluster of one node, as docs/deploy/kubernetes.md installs it: `make cluster-test`.

The images of backends are stand-ins (`deploy/testing/stand-ins.sh`). Volumes are folders of the node.
"""

import json
import os
import subprocess
import sys
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from tools.kustomize import CHART

from swell.programs import find
from tests.cluster.images import ARCHIVE, BASE_ARCHIVE
from tests.cluster.node import Cluster, open_cluster, until
from tests.unit.deploy.manifests import CRDS, NAMES, manifests

GATEWAY = "http://swell-gateway.swell.svc.cluster.local:9090"
REGISTRY = "swell-registry.swell.svc:5000"
BASE = f"{REGISTRY}/library/busybox:1"
NEXT = "next"
SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
VALUES: dict[str, Any] = {
    "serverUrl": GATEWAY,
    "dataUrl": "http://swell-data.swell.svc.cluster.local:9091",
    "trial": {"enabled": True, "storage": "1Gi"},
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

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node with all images, the custom resources of the chart, two namespaces with a Secret each, and volumes."""
    home = tmp_path_factory.mktemp("cluster")
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # new-secrets needs bcrypt of Python
    secrets = subprocess.run(
        ["deploy/helm/new-secrets"], env={"PATH": search}, check=True, capture_output=True, text=True, timeout=60
    )
    with open_cluster(home) as opened:
        opened.load(ARCHIVE)
        for path in CRDS.glob("*.json"):
            apply(opened, json.loads(path.read_text()))
        for name, level in (("swell", "restricted"), ("swell-builders", "privileged")):
            labels = {"pod-security.kubernetes.io/enforce": level}
            apply(opened, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        for number in range(4):
            (home / f"volume{number}").mkdir()
            (home / f"volume{number}").chmod(0o777)
            apply(opened, volume(home, number))
        for secret in yaml.safe_load_all(secrets.stdout):
            apply(opened, secret)
        yield opened


def volume(home: Path, number: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"volume{number}"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "hostPath": {"path": str(home / f"volume{number}")},
        },
    }


def apply(cluster: Cluster, manifest: dict[str, Any], **parameters: str) -> None:
    """Apply *manifest* on the server, which refuses fields that it would ignore."""
    path = "/api/v1" if manifest["apiVersion"] == "v1" else f"/apis/{manifest['apiVersion']}"
    resources = cluster.get(path)["resources"]
    plural = next(each["name"] for each in resources if each["kind"] == manifest["kind"])
    if namespace := manifest["metadata"].get("namespace"):
        path += f"/namespaces/{namespace}"
    response = cluster.http.patch(
        f"{path}/{plural}/{manifest['metadata']['name']}",
        params={"fieldManager": "tests", "fieldValidation": "Strict", "force": "true", **parameters},
        headers={"Content-Type": "application/apply-patch+yaml"},
        content=json.dumps(manifest),
    )
    assert response.is_success, f"{manifest['kind']} {manifest['metadata']['name']}: {response.text}"


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


@pytest.fixture(scope="module")
def swell(cluster: Cluster) -> Cluster:
    """The cluster with the chart, and a base image in its registry."""
    upgrade(cluster)
    auth = cluster.home / "auth.json"
    auth.write_bytes(b64decode(cluster.get("/api/v1/namespaces/swell/secrets/swell")["data"]["registry-auth"]))
    command = (
        "skopeo",
        "copy",
        "-q",
        "--dest-tls-verify=false",
        f"--authfile={auth}",
        f"docker-archive:{BASE_ARCHIVE}",
    )
    Path("/run/resolv.conf").write_text(
        f"{Path('/run/resolv.conf').read_text()}search cluster.local\noptions ndots:5\n"
    )
    subprocess.run([*command, f"docker://{BASE}"], check=True, timeout=120)
    return cluster


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


@pytest.mark.parametrize("name", NAMES)
def test_the_api_server_accepts_every_object(cluster: Cluster, name: str) -> None:
    """Also custom resources, with the schemas of their projects; no field is ignored, nothing is created."""
    for manifest in manifests(name).values():
        apply(cluster, manifest, dryRun="All")


def test_the_chart_is_installed_and_its_test_passes(swell: Cluster) -> None:
    """All pods become ready, those of the release at the level `restricted`; `helm test` asks the gateway."""
    assert builders(swell) == 1
    helm(swell, "test", "swell", "--timeout", "5m")


def test_a_build_runs_in_the_pod_of_a_builder_and_is_pulled(swell: Cluster, tmp_path: Path) -> None:
    """The pod is not privileged: it has ten capabilities and one device of the node."""
    build = submit("RUN echo built $((40+2)) > /built")
    image = build["targetImage"]
    pulled = subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"dir:{tmp_path}/image"],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )

    assert pulled.returncode == 0, pulled.stderr + log(build)
    assert succeeded(build, swell)


def test_builders_scale_and_an_update_waits_for_their_builds(swell: Cluster) -> None:
    """Two builders build at the same time. A builder that is replaced finishes its build, which is not begun twice."""
    upgrade(swell, builder={"replicas": 2, "concurrency": 1})
    assert builders(swell) == 2
    builds = [submit(f"RUN echo begun {number} && sleep 30 && echo done") for number in range(2)]
    for number, build in enumerate(builds):
        until(partial(has_begun, build, f"begun {number}"), swell)
    assert [status(build)["status"] for build in builds] == ["PENDING", "PENDING"]

    upgrade(swell, builder={"replicas": 1, "podAnnotations": {"changed": "yes"}})

    for build in builds:
        assert succeeded(build, swell)
        assert "attempt 2" not in log(build)
    until(lambda: builders(swell) == 1, swell)


def test_services_are_upgraded_and_rolled_back_under_load(swell: Cluster) -> None:
    """Pods of the images with the tag `next` replace the others, and go again: every request is answered."""
    statuses: list[int] = []
    stop = time.monotonic() + 600
    environment = os.environ | {"KUBECONFIG": str(swell.config)}
    (program,) = find("helm", "helm") or pytest.fail("helm is missing")
    before = revision(swell)
    values = yaml.safe_dump({**VALUES, "image": {"tag": NEXT}, "gateway": {"replicas": 2, "resources": SMALL}})
    for arguments in (
        ("upgrade", "swell", str(CHART), "--wait", "--timeout", "15m", "--values", "-"),
        ("rollback", "swell", before, "--wait", "--timeout", "15m"),
    ):
        command = [str(program), *arguments, "--namespace", "swell"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, text=True) as running:
            assert running.stdin
            running.stdin.write(values if "-" in arguments else "")
            running.stdin.close()
            while running.poll() is None and time.monotonic() < stop:
                statuses.append(httpx.get(f"{GATEWAY}/service-info", timeout=60).status_code)
                time.sleep(0.2)
            assert running.wait(60) == 0, problems(swell)

    assert set(statuses) == {200}
    assert succeeded(submit("RUN echo after the rollback"), swell)


def revision(cluster: Cluster) -> str:
    history = json.loads(helm(cluster, "history", "swell", "--output", "json"))
    return str(history[-1]["revision"])


def test_builds_run_as_jobs(swell: Cluster) -> None:
    """With `builder.where=jobs`, the builder is unprivileged in the namespace of the release, and a Job builds."""
    upgrade(swell, builder={"where": "jobs"})
    build = submit("RUN echo built by a Job")
    name = build["buildId"].replace("_", "-")

    until(lambda: name in jobs(swell), swell)
    assert succeeded(build, swell)
    assert "built by a Job" in log(build)
    until(lambda: name not in jobs(swell), swell)


def jobs(cluster: Cluster) -> list[str]:
    return [each["metadata"]["name"] for each in cluster.get("/apis/batch/v1/namespaces/swell-builders/jobs")["items"]]


def test_nothing_is_left_in_the_namespaces(swell: Cluster) -> None:
    """`helm uninstall` removes all pods and Services; Secrets and volumes stay."""
    helm(swell, "uninstall", "swell", "--wait", "--timeout", "20m")

    for namespace in ("swell", "swell-builders"):
        until(partial(is_empty, swell, f"/api/v1/namespaces/{namespace}/pods"), swell)
    assert not swell.get("/api/v1/namespaces/swell/services")["items"]
    assert swell.get("/api/v1/namespaces/swell/secrets/swell")


def is_empty(cluster: Cluster, path: str) -> bool:
    return not cluster.get(path)["items"]
