"""One cluster for all tests of this folder; the first one that needs the chart installs it."""

import json
import os
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.addons import start_policies
from tests.cluster.images import ARCHIVE, BASE_ARCHIVE
from tests.cluster.node import Cluster, open_cluster
from tests.cluster.release import BASE, upgrade
from tests.unit.deploy.manifests import CRDS


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A node with all images, the custom resources of the chart, two namespaces with a Secret each, and volumes."""
    home = tmp_path_factory.mktemp("cluster")
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # new-secrets needs bcrypt of Python
    secrets = subprocess.run(
        ["deploy/helm/new-secrets"], env={"PATH": search}, check=True, capture_output=True, text=True, timeout=60
    )
    with open_cluster(home) as opened:
        start_policies(opened)
        opened.load(ARCHIVE)
        for path in CRDS.glob("*.json"):
            opened.apply(json.loads(path.read_text()))
        for name, level in (("swell", "restricted"), ("swell-builders", "privileged")):
            labels = {"pod-security.kubernetes.io/enforce": level}
            opened.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        for number in range(4):
            (home / f"volume{number}").mkdir()
            (home / f"volume{number}").chmod(0o777)
            opened.apply(volume(home, number))
        for secret in yaml.safe_load_all(secrets.stdout):
            opened.apply(secret)
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


@pytest.fixture(scope="session")
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
