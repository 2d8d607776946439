"""`docker compose` from the last release to this tree and back, with the volumes of the release.

`make compose-test` runs it, after the images of both have been built.
"""

import os
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.docker_daemon import ROOT, Docker, open_docker
from tests.e2e.operate.test_compose import CONTAINERFILE, GATEWAY, push_base, read, submit

RELEASE = "v0.2.0"

pytestmark = [pytest.mark.compose, pytest.mark.timeout(5400)]


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Docker]:
    with open_docker(Path(os.environ.get("SWELL_TEST_DOCKER") or tmp_path_factory.mktemp("docker"))) as opened:
        yield opened


@pytest.fixture(scope="module")
def release(docker: Docker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the release, with its images as `released-<service>`."""
    tree = tmp_path_factory.mktemp("release")
    packed = subprocess.run(["git", "archive", RELEASE], cwd=ROOT, check=True, capture_output=True, timeout=60)
    subprocess.run(["tar", "-x", "-C", str(tree)], input=packed.stdout, check=True, timeout=60)
    environment = docker.env | {"SWELL_IMAGES": "released", "PYTHONPATH": str(tree / "libs/swell")}
    command = [str(tree / "deploy/images/build.sh"), os.environ.get("PYTHON", str(ROOT / ".venv/bin/python"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=3600, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return tree


def test_an_upgrade_and_a_rollback_keep_what_was_built(docker: Docker, release: Path) -> None:
    """Images of the release are pulled after the upgrade, those of this tree after the rollback; records stay.

    There is one gateway, so requests fail for as long as its container is replaced.
    """
    old = ("-f", str(release / "docker-compose.yml"), "--project-directory", str(ROOT))
    released = docker.env | {"SWELL_IMAGES": "released"}
    docker.run("deploy/compose/init")
    try:
        compose(docker, released, *old, "up", "-d", "--wait")
        push_base(docker)
        first = submit(f"{CONTAINERFILE}RUN echo of the release\n")
        pull(docker, first)

        with requesting() as failures:
            docker.compose("up", "-d", "--wait", seconds=1200)
        assert max(failures, default=0) < 60, failures
        pull(docker, first)
        assert "of the release" in read(f"/v1alpha1/builds/{first['buildId']}/logs")
        second = submit(f"{CONTAINERFILE}RUN echo of this tree\n")
        pull(docker, second)

        compose(docker, released, *old, "up", "-d", "--wait", "--remove-orphans")
        for build in (first, second):
            pull(docker, build)
        assert "of this tree" in read(f"/v1alpha1/builds/{second['buildId']}/logs")
        third = submit(f"{CONTAINERFILE}RUN echo after the rollback\n")
        pull(docker, third)
    finally:
        docker.compose("down", "-v", "--timeout", "30", "--remove-orphans")


def pull(docker: Docker, build: dict[str, Any]) -> None:
    """Pull the image of *build*, also its layers: nothing of it is in the daemon."""
    docker.run("docker", "pull", "-q", build["targetImage"])
    docker.run("docker", "image", "rm", build["targetImage"])


def compose(docker: Docker, environment: dict[str, str], *arguments: str) -> None:
    command = ["docker", "compose", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


@contextmanager
def requesting() -> Iterator[list[float]]:
    """Send a request every 0.2 s; yield a list, which gets the seconds of each time without an answer."""
    failures: list[float] = []
    stop = threading.Event()

    def run() -> None:
        since: float | None = None
        while not stop.wait(0.2):
            try:
                urllib.request.urlopen(f"{GATEWAY}/service-info", timeout=10).close()  # noqa: S310  a constant http URL
            except (urllib.error.URLError, OSError):
                since = since or time.monotonic()
            else:
                if since:
                    failures.append(time.monotonic() - since)
                since = None

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join(30)
