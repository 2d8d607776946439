"""The chart on a real cluster of one node, as docs/deploy/kubernetes.md installs it: `make cluster-test`.

The images of backends are stand-ins (`deploy/testing/stand-ins.sh`). Volumes are folders of the node.
"""

import os
import subprocess
import time
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml
from tools.kustomize import CHART

from swell.programs import find
from tests.cluster.node import Cluster, until
from tests.cluster.release import (
    GATEWAY,
    SMALL,
    VALUES,
    builders,
    has_begun,
    helm,
    log,
    problems,
    revision,
    status,
    submit,
    succeeded,
    upgrade,
)
from tests.unit.deploy.manifests import NAMES, manifests

NEXT = "next"

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3000)]


@pytest.mark.parametrize("name", NAMES)
def test_the_api_server_accepts_every_object(cluster: Cluster, name: str) -> None:
    """Also custom resources, with the schemas of their projects; no field is ignored, nothing is created."""
    for manifest in manifests(name).values():
        cluster.apply(manifest, dryRun="All")


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
