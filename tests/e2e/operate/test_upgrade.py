"""Services of the last release and of this commit run side by side while one after the other is replaced."""

import subprocess
from pathlib import Path

import pytest
from msgspec import structs

from swell import programs
from swell_embedded.ports import Ports
from swell_embedded.processes.probes import both, grpc_health, tcp
from swell_embedded.services import SERVICES
from swell_embedded.stack import open_stack
from tests.e2e.environment import NO_LIMITS, of_this_machine
from tests.e2e.load import loading
from tests.e2e.outages.test_outages import ends
from tests.e2e.upstreams import Upstreams

RELEASE = "v0.2.0"
CLIENTS = 2
ORDER = ("metrics", "registry-proxy", "scanner", "builder", "gateway")

pytestmark = [pytest.mark.full, pytest.mark.timeout(900)]

OLD_SERVICES = tuple(
    structs.replace(each, ready=ready)
    for each, ready in zip(
        SERVICES,
        (
            lambda ports: grpc_health(ports.metrics),
            lambda ports: both(grpc_health(ports.registry_proxy), tcp(ports.data)),
            lambda ports: grpc_health(ports.builder),
            lambda ports: grpc_health(ports.scanner),
            SERVICES[-1].ready,
        ),
        strict=True,
    )
)
"""The services, asked for their health as the release answers it."""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The PYTHONPATH of the last release: its code has precedence over this commit's."""
    home = tmp_path_factory.mktemp("release")
    command = ["git", "archive", RELEASE, "libs", "services"]
    packed = subprocess.run(command, check=True, capture_output=True, timeout=60)
    subprocess.run(["tar", "-x", "-C", str(home)], input=packed.stdout, check=True, timeout=60)
    return ":".join(str(path.parent) for path in sorted(home.glob("*/*/pyproject.toml")))


async def test_services_are_replaced_while_clients_build_and_pull(
    release: str, upstreams: Upstreams, tmp_path: Path
) -> None:
    """With one of each service: requests are repeated while the gateway starts, and every build ends once."""
    environment = (
        of_this_machine()
        | NO_LIMITS
        | {
            "PATH": f"{programs.compiled('engine')}:{programs.compiled('scanners')}:{of_this_machine()['PATH']}",
            "PYTHONPATH": release,
            "SWELL_ALLOWED_HOSTS": ",".join(upstreams.hosts),
            "SWELL_REGISTRY_AUTH_FILE": str(upstreams.auth_file),
            "SWELL_SHARED_REGISTRIES": ",".join((upstreams.basic, upstreams.bearer, upstreams.mistaken)),
        }
    )
    ports = Ports.free()
    async with open_stack(tmp_path / "stack", ports, OLD_SERVICES, environment=environment) as stack:
        assert all(release.partition(":")[0] in code_of(stack.pid(name)) for name in ORDER)
        before = await ends(stack)
        async with loading([stack.url], upstreams.image(), attempts=120, pause=0.5, clients=CLIENTS) as load:
            await load.more(2)
            for name in ORDER:
                (service,) = (each for each in SERVICES if each.name == name)
                old = stack.program(name)
                own = {key: value for key, value in old.environment.items() if key != "PYTHONPATH"}
                await stack.restart(name, structs.replace(old, environment=own, ready=service.ready(ports)))
                await load.more(3)

        assert len(set(load.builds)) == len(load.builds)
        assert 0 <= await ends(stack) - before - len(load.builds) <= CLIENTS  # a build of each was in progress


def code_of(pid: int) -> str:
    """The variables of a process, with its PYTHONPATH."""
    return Path(f"/proc/{pid}/environ").read_text()
