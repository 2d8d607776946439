"""What a build reaches: the world, the registries that the operator allows, and nothing else of this machine."""

import asyncio
import http.server
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from builder.buildah.engine import BuildahEngine
from builder.settings import Isolation
from swell.errors import Unavailable
from swell.store.records import Reason
from tests.integration.builder.buildah.test_buildah import Buildah
from tests.integration.builder.buildah.test_engine import failure_of, recipe
from tests.integration.builder.contract import asleep, sleepers, until
from tests.integration.builder.harness import OpenEngine, Output, Registry

__all__ = ["asleep"]


class Backend:
    """A server without a password on this machine, as a store's inner ports are; it keeps what it was asked."""

    def __init__(self, host: str) -> None:
        requests = self.requests = []  # type: list[str]

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                requests.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"secret")

            def log_message(self, *_: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.port = self.server.server_address[1]


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """On loopback, unless another host is asked for."""
    backend = Backend(getattr(request, "param", "127.0.0.1"))
    thread = threading.Thread(target=backend.server.serve_forever)
    thread.start()
    yield backend
    backend.server.shutdown()
    backend.server.server_close()
    thread.join()


def outer_address() -> str:
    """The address by which other machines would know this one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("192.0.2.1", 9))  # nothing is sent
        return str(udp.getsockname()[0])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::1]", "10.0.2.2", "0.0.0.0"])
async def test_what_add_names_is_not_fetched_from_our_loopback(
    engine: BuildahEngine, base: str, backend: Backend, host: str
) -> None:
    """The engine itself fetches it, before any step runs; so the engine is not on this machine's network either."""
    body = f"FROM {base}\nADD http://{host}:{backend.port}/file /file\n"

    failure = await failure_of(engine, recipe(base, body))

    assert backend.requests == []
    assert failure.reason is Reason.RECIPE
    assert f"{backend.port}/file" in str(failure)


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_what_add_names_elsewhere_is_fetched(engine: BuildahEngine, base: str, backend: Backend) -> None:
    """Builds have a way out: what other machines could ask of this one, a build can, and so it can ask others."""
    output = Output()
    body = f"FROM {base}\nADD http://{outer_address()}:{backend.port}/file /file\nRUN cat /file\n"

    await engine.build(recipe(base, body), output)

    assert backend.requests == ["/file"]
    assert "secret" in output.text


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_a_step_has_a_way_out(engine: BuildahEngine, base: str, backend: Backend) -> None:
    """Package managers need one; its network lies in the build's."""
    output = Output()
    step = f"wget -q -O - http://{outer_address()}:{backend.port}/step; echo; cat /etc/resolv.conf"

    await engine.build(recipe(base, f"FROM {base}\nRUN {step}\n"), output)

    assert backend.requests == ["/step"]
    assert b"nameserver 10.0.2.3" in output


async def test_a_step_does_not_reach_the_registry_that_the_engine_reaches(
    engine: BuildahEngine, base: str, registry: Registry
) -> None:
    """Where a registry on loopback has no password, a step could push to it."""
    output = Output()
    host, _, port = registry.address.partition(":")
    await engine.build(
        recipe(base, f"FROM {base}\nRUN nc -w 2 {host} {port} </dev/null && echo in || echo out\n"), output
    )
    assert b"out" in output


async def test_a_registry_on_loopback_is_there_only_when_it_is_allowed(
    open_engine: OpenEngine, base: str, tmp_path: Path, backend: Backend
) -> None:
    """A FROM line is a request to an address of the user's choice, like any other."""
    body = f"FROM 127.0.0.1:{backend.port}/image:1\nRUN true\n"
    async with open_engine(tmp_path / "refusing") as engine:
        refused = await failure_of(engine, recipe(base, body))
        assert backend.requests == []
    async with open_engine(tmp_path / "allowing", allowed_hosts=frozenset({"127.0.0.1"})) as engine:
        await failure_of(engine, recipe(base, body))
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())

    assert refused.reason is Reason.BASE_IMAGE
    assert "/v2/" in backend.requests


async def test_nothing_is_pushed_to_our_loopback(
    open_engine: OpenEngine, base: str, backend: Backend, tmp_path: Path
) -> None:
    """A repository of the client's own is an address of the client's choice, too. Its push is tried until the end."""
    pushed = recipe(f"127.0.0.1:{backend.port}/base:1", f"FROM {base}\nRUN true\n", made="images/made:1")
    async with open_engine(tmp_path, build_timeout=timedelta(seconds=10)) as engine:
        failure = await failure_of(engine, pushed)
    assert failure.reason is Reason.PUSH
    assert backend.requests == []


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_denied_networks_are_reached_neither_by_steps_nor_by_the_engine(
    open_engine: OpenEngine, base: str, tmp_path: Path, backend: Backend
) -> None:
    """The operator's own networks may be as private as the loopback; the world is reached as before."""
    ours, output = outer_address(), Output()
    url = f"http://{ours}:{backend.port}/x"
    async with open_engine(tmp_path, denied_networks=(f"{ours}/32",)) as engine:
        failure = await failure_of(engine, recipe(base, f"FROM {base}\nADD {url} /x\n"))
        await engine.build(recipe(base, f"FROM {base}\nRUN wget -q -T 5 -O - {url} || echo refused\n"), output)
    assert backend.requests == []
    assert failure.reason is Reason.RECIPE
    assert b"refused" in output


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "168.63.129.16"])
async def test_a_clouds_credentials_are_not_to_be_had(engine: BuildahEngine, base: str, address: str) -> None:
    """Machines in clouds read their credentials from an address of the cloud."""
    failure = await failure_of(engine, recipe(base, f"FROM {base}\nADD http://{address}/latest/meta-data /x\n"))
    assert "no route to host" in str(failure)


async def test_a_network_that_is_none_stops_the_builder(open_engine: OpenEngine, tmp_path: Path) -> None:
    """Rather than to let builds go where they should not."""
    with pytest.raises(Unavailable, match="10.0.0.1/8"):
        async with open_engine(tmp_path, denied_networks=("10.0.0.1/8",)):
            pytest.fail("it has started")


async def test_one_network_waits_for_the_next_build_and_goes_with_the_builder(
    open_engine: OpenEngine, base: str, tmp_path: Path
) -> None:
    """Networks of ended builds are closed, and no idle ones remain."""
    async with open_engine(tmp_path) as engine:
        for _ in range(2):
            await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
        await until(lambda: len(ways_out(tmp_path)) == len(list((tmp_path / "networks").iterdir())) == 1, "one network")
    assert ways_out(tmp_path) == []
    assert list((tmp_path / "networks").iterdir()) == []


async def test_a_network_that_has_died_is_not_given_to_a_build(
    open_engine: OpenEngine, base: str, tmp_path: Path
) -> None:
    """It waits for long, perhaps, and the kernel ends processes where memory is short."""
    async with open_engine(tmp_path) as engine:
        await until(lambda: len(ways_out(tmp_path)) == 1, "a network that waits")
        (slirp,) = ways_out(tmp_path)
        os.kill(slirp, signal.SIGKILL)
        await until(lambda: slirp not in ways_out(tmp_path), "its end")
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())


async def test_networks_end_with_a_killed_builder(
    registry: Registry, open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int
) -> None:
    """The kernel ends the way out as it ends the build; the next life removes what is left of both."""
    subject = Buildah(registry, open_engine, base, Isolation.OCI)
    service = await asyncio.create_subprocess_exec(*subject.builder(tmp_path, subject.endless(asleep)))
    try:
        await until(lambda: sleepers(asleep) and ways_out(tmp_path), "a build and its network")
    finally:
        service.kill()
        await service.wait()
    await until(lambda: ways_out(tmp_path) == [], "their end")
    async with subject.open(tmp_path):
        pass
    assert list((tmp_path / "networks").iterdir()) == []


def ways_out(workspace: Path) -> list[int]:
    """The slirp4netns processes of networks in *workspace*."""
    ours, found = {path.stat().st_ino for path in (workspace / "networks").iterdir()}, []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            scratch = (process / "root/tmp").stat().st_ino
            if (process / "comm").read_text() == "slirp4netns\n" and scratch in ours:
                found.append(int(process.name))
    return found
