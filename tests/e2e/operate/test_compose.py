"""`docker compose up`, on a real Docker daemon of its own: `make compose-test`.

The images of backends are stand-ins (`deploy/testing/stand-ins.sh`), and the Compose plug-in is that of a wheel. Needs
root, dockerd and debootstrap; takes about ten minutes, so it is part of `make test-full` only. With the variable
SWELL_TEST_DOCKER, a folder, its images stay there for the next run.
"""

import json
import os
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.docker_daemon import Docker, open_docker, wait

ROOT = Path(__file__).parents[3]
GATEWAY = "http://localhost:9090"
CONTAINERFILE = "FROM registry:5000/library/busybox:1\nRUN echo built $((40+2)) > /built\n"
SECRETS = Path("deploy/compose/secrets")
REPLICAS = ("gateway", "registry-proxy", "builder")

pytestmark = [pytest.mark.compose, pytest.mark.timeout(3600)]  # the first test waits until all images are built


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    """A daemon with all images."""
    with open_docker(Path(os.environ.get("SWELL_TEST_DOCKER") or tmp_path_factory.mktemp("docker"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def swell(docker: Docker) -> Iterator[Docker]:
    """Swell, started by the commands of docs/deploy/compose.md, with a base image in its registry."""
    docker.run("deploy/compose/init")
    docker.compose("up", "-d", "--wait")
    try:
        push_base(docker)
        yield docker
    finally:
        docker.compose("down", "-v", "--timeout", "30")


def push_base(docker: Docker, secrets: Path = ROOT / SECRETS) -> None:
    """Push an image to the registry of Compose, with its password in the folder *secrets*."""
    names = json.loads(docker.run("docker", "inspect", "swell-registry-1"))[0]["NetworkSettings"]["Networks"]
    (address,) = (network["IPAddress"] for network in names.values())
    password = (secrets / "registry-password").read_text()
    docker.run(
        "docker", "build", "-q", "-t", "busybox:1", "-f", str(ROOT / "deploy/testing/busybox.Dockerfile"), "/bin"
    )
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


LARGEST = {"gateway": 150, "registry-proxy": 90, "metrics": 50}
"""MB of an image over its base."""


@pytest.mark.parametrize("name", LARGEST)
def test_an_image_is_small(docker: Docker, name: str) -> None:
    """What no service imports is left out. The builder and the scanner also have programs of Debian and of Go."""
    base = "docker.io/library/python:3.11-slim-bookworm"
    size, of_base = (
        int(docker.run("docker", "image", "inspect", "--format", "{{.Size}}", image))
        for image in (f"swell-{name}", base)
    )
    assert (size - of_base) / 1e6 <= LARGEST[name]


@pytest.mark.parametrize("name", ["gateway", "registry-proxy", "metrics", "builder", "scanner"])
def test_an_image_has_an_sbom(docker: Docker, name: str) -> None:
    """`make images` lists what is in each image: the packages of Python and of Debian."""
    listed = json.loads((ROOT / f"dist/sboms/{name}.spdx.json").read_text())
    packages = {each["name"] for each in listed["packages"]}
    image = docker.run("docker", "image", "inspect", "--format", "{{.Id}}", f"swell-{name}").strip()

    assert {"swell", name, "nats-py", "libc6"} <= packages
    assert image in json.dumps(listed["packages"])


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
    wait(lambda: _assert_in("begun 21", read(f"/v1alpha1/builds/{build_id}/logs")), 120)

    swell.compose("stop", "builder", seconds=600)

    assert json.loads(read(f"/v1alpha1/builds/{build_id}/status"))["succeeded"]
    swell.compose("up", "-d", "--wait")
    log = read(f"/v1alpha1/builds/{build_id}/logs")
    assert "attempt 2" not in log
    assert log.count("begun 21") == 1


def test_calls_between_services_can_be_encrypted(swell: Docker) -> None:
    """`init mtls` and one more file, as docs/deploy/compose.md says; then nothing is answered without a certificate."""
    swell.run("deploy/compose/init", "mtls")
    files = ("-f", "docker-compose.yml", "-f", "deploy/compose/mtls.yml")
    swell.compose(*files, "up", "-d", "--wait")
    image = submit(f"{CONTAINERFILE}RUN echo encrypted\n")["targetImage"]
    swell.run("docker", "pull", "-q", image)

    probe = "import grpc; grpc.channel_ready_future(grpc.insecure_channel('registry-proxy:9101')).result(5)"
    with pytest.raises(AssertionError, match="FutureTimeoutError"):
        swell.compose(*files, "exec", "-T", "gateway", "python", "-c", probe)
    swell.compose("up", "-d", "--wait")


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
