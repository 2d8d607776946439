"""Fixtures: all services and backends of Swell as processes, upstream servers, and container engines."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from swell.testing.odd_registry.blobs import RANGES
from swell.testing.odd_registry.server import OddRegistry
from swell.testing.odd_registry.table import ROWS
from swell.testing.vulnerabilities import write_database
from swell_embedded.errors import ChildDied
from swell_embedded.ports import Ports
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack, open_stack
from tests.e2e.client import KEYS_FILE, SECRET, Swell, client_of
from tests.e2e.engines import PULLERS, Containerd, Containers, Docker, Engine, run
from tests.e2e.environment import NO_LIMITS, of_this_machine
from tests.e2e.secrets_used import found, search, searched
from tests.e2e.stacks import VULNERABILITIES, OpenStack
from tests.e2e.upstreams import Upstreams, Web, open_upstreams, open_web, running
from tests.integration.builder.conda.channel import Channel, every_kind, serving


@pytest.fixture(scope="session")
async def upstreams(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Upstreams]:
    async with open_upstreams(tmp_path_factory.mktemp("upstreams")) as opened:
        yield opened


@pytest.fixture(scope="session")
async def web() -> AsyncIterator[Web]:
    async with open_web() as opened:
        yield opened


@pytest.fixture(scope="session")
async def odd() -> AsyncIterator[OddRegistry]:
    """A registry with one repository for each misbehaviour."""
    async with OddRegistry((*ROWS, *RANGES)).serving() as opened:
        yield opened


@pytest.fixture(scope="session")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channel]:
    """A Conda channel, which builders may read."""
    with serving(tmp_path_factory.mktemp("channel")) as channel:
        channel.add(*every_kind())
        yield channel


@pytest.fixture(scope="session")
def no_secret_left() -> Iterator[None]:
    """After the last test: no stack has stored or logged a secret that the tests have used."""
    yield
    assert found == [], "secrets were found"


@pytest.fixture(scope="session")
def new_stack(
    no_secret_left: None,
    upstreams: Upstreams,
    web: Web,
    odd: OddRegistry,
    channel: Channel,
    tmp_path_factory: pytest.TempPathFactory,
) -> OpenStack:
    """Return a function that opens a separate stack: `new_stack(home, JOB_LEASE="PT2S")`, optionally on *ports*.

    Every client may read its registries, unless SHARED_REGISTRIES has another value.
    """
    keys = tmp_path_factory.mktemp("keys") / "keys.toml"
    keys.write_text(KEYS_FILE)
    secret = keys.with_name("token")
    secret.write_text(SECRET)

    database = keys.with_name("vulnerability.db")
    write_database(database, VULNERABILITIES, datetime.now(UTC) - timedelta(days=1))

    hosts = (
        *upstreams.hosts,
        web.authority,
        odd.authority,
        odd.elsewhere.authority,
        channel.url.removeprefix("http://"),
    )

    @asynccontextmanager
    async def make(home: Path, ports: Ports | None = None, **settings: str) -> AsyncIterator[Stack]:
        environment = {
            "SWELL_ALLOWED_HOSTS": ",".join(hosts),
            "SWELL_API_KEYS_FILE": str(keys),
            "SWELL_BUILD_SBOMS": "false",  # each build would cost a run of syft
            "SWELL_BUILD_SECRETS": f"token={secret}",
            "SWELL_REGISTRY_AUTH_FILE": str(upstreams.auth_file),
            "SWELL_SCAN_DATABASE_FILE": str(database),
            "SWELL_SHARED_REGISTRIES": ",".join((upstreams.basic, upstreams.bearer, upstreams.mistaken)),
            **NO_LIMITS,
            **{f"SWELL_{name}": value for name, value in settings.items()},
        }
        opening = open_stack(home, ports or Ports.free(), environment=of_this_machine() | environment)
        async with opening as stack, searched(stack, home):
            yield stack
        found.extend(f"{home.name}: {hit}" for hit in await asyncio.to_thread(search, home))

    return make


@pytest.fixture(scope="session")
async def stack(
    new_stack: OpenStack, channel: Channel, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """The stack that all tests share which do not change it; its users can search the packages of the channel."""
    async with new_stack(tmp_path_factory.mktemp("stack"), CONDA_CATALOGUE_CHANNELS=channel.url) as opened:
        yield opened


@pytest.fixture(scope="session")
async def swell(stack: Stack) -> AsyncIterator[Swell]:
    async with client_of(stack.url) as client:
        yield client


@pytest.fixture(scope="session")
async def docker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Docker]:
    """A Docker daemon of the tests, if this machine can run one."""
    home = tmp_path_factory.mktemp("docker")
    environment = of_this_machine() | {"DOCKER_CONFIG": str(home)}
    for tool in ("dockerd", "docker"):
        if not shutil.which(tool, path=environment["PATH"]):
            pytest.skip(f"there is no {tool} on this machine")
    socket = home / "docker.sock"
    folders = (f"--data-root={home}/data", f"--exec-root={home}/exec", f"--pidfile={home}/pid")
    network = ("--bridge=none", "--iptables=false", "--ip-masq=false")

    async def ready() -> None:
        if (await run("docker", f"--host=unix://{socket}", "version")).status:
            raise ConnectionError

    command = ("dockerd", f"--host=unix://{socket}", *folders, *network)
    try:
        async with running(Program(name="dockerd", command=command, environment=environment, ready=ready), home):
            yield Docker(socket)
    except ChildDied as error:
        pytest.skip(f"no Docker daemon can be started here: {error}")


@pytest.fixture
def images(upstreams: Upstreams, monkeypatch: pytest.MonkeyPatch) -> str:
    """A repository of a registry that is not Swell's; Swell and the tools of this machine have its credentials."""
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(upstreams.auth_file))
    return f"{upstreams.basic}/acme/images"


@pytest.fixture(scope="session")
async def containerd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Containerd]:
    """A containerd of the tests, if this machine can run one."""
    home = tmp_path_factory.mktemp("containerd")
    environment = of_this_machine()
    for tool in ("containerd", "ctr"):
        if not shutil.which(tool, path=environment["PATH"]):
            pytest.skip(f"there is no {tool} on this machine")
    (home / "config.toml").write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\naddress = "{home}/sock"\n[ttrpc]\naddress = "{home}/ttrpc"\n'
    )

    async def ready() -> None:
        if (await run("ctr", f"--address={home}/sock", "version")).status:
            raise ConnectionError

    command = ("containerd", "--config", f"{home}/config.toml")
    try:
        async with running(Program(name="containerd", command=command, environment=environment, ready=ready), home):
            yield Containerd(home)
    except ChildDied as error:
        pytest.skip(f"no containerd can be started here: {error}")


@pytest.fixture(params=[*PULLERS, "docker", "containerd"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """Each of five programs that pull and run images. Each test starts with an empty store."""
    if request.param not in PULLERS:
        yield request.getfixturevalue(request.param)
        return
    with TemporaryDirectory(prefix="e2e-") as folder:  # podman requires a short path
        yield Containers(request.param, Path(folder))
