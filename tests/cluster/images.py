"""`python -m tests.cluster.images [HOME]`: build the images for the cluster with a Docker daemon, and save them."""

import os
import subprocess
from pathlib import Path

from tests.docker_daemon import Docker, open_docker

HOME = Path(os.environ.get("SWELL_TEST_DOCKER") or Path.home() / ".cache/swell/testing/docker")
ARCHIVE, BASE_ARCHIVE = HOME / "images.tar", HOME / "busybox.tar"
SERVICES = ("gateway", "registry-proxy", "metrics", "builder", "scanner")
BACKENDS = ("redis", "nats", "minio", "registry")


def save(docker: Docker) -> None:
    """Write the archives: all images of pods, and a base image for builds."""
    version = docker.run("docker", "image", "ls", "--format", "{{.Tag}}", "swell-gateway").split()
    tag = next(each for each in version if each not in {"latest", "next"})
    names = [f"swell-{service}:{each}" for service in SERVICES[:4] for each in (tag, "next")]
    for service in SERVICES[:4]:
        docker.run("docker", "tag", f"swell-{service}:{tag}", f"swell-{service}:next")
    docker.run("docker", "build", "-q", "-t", "busybox:1", "-f", "deploy/testing/busybox.Dockerfile", "/bin")
    pause = 'FROM busybox:1\nENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]\n'
    subprocess.run(
        ["docker", "build", "-q", "-t", "swell-pause:1", "-"], input=pause, text=True, env=docker.env, check=True
    )
    listed = docker.run("docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
    backends = [name for name in listed if name.rpartition(":")[0].rpartition("/")[2] in BACKENDS]
    docker.run("docker", "save", "-o", str(BASE_ARCHIVE), "busybox:1")
    docker.run("docker", "save", "-o", str(ARCHIVE), "swell-pause:1", *names, *backends, seconds=1800)


def main() -> None:
    HOME.mkdir(parents=True, exist_ok=True)
    with open_docker(HOME) as docker:
        save(docker)


if __name__ == "__main__":
    main()
