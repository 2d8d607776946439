"""What the programs of these tests are told by the environment: nothing that was meant for another Swell."""

import os
import sys

from swell_embedded import probes
from swell_embedded.ports import Ports
from swell_embedded.program import Program
from swell_embedded.stack import Stack

NO_LIMITS = {f"SWELL_{kind}_LIMIT": "off" for kind in ("BUILD", "PULL", "ANONYMOUS_BUILD", "ANONYMOUS_PULL")}


def of_this_machine() -> dict[str, str]:
    """The environment without our variables; system programs are found wherever Debian has them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
    return kept | {"PATH": f"{kept.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}


def gateway_beside(stack: Stack, name: str, **told: str) -> tuple[str, Program]:
    """Another gateway of *stack*, told `SWELL_<FIELD>` by *told*: its address, and how it is started."""
    port = Ports.free().gateway
    url = f"http://localhost:{port}"
    told = {"LISTEN": f"127.0.0.1:{port}", "SERVER_URL": url} | told
    environment = of_this_machine() | stack.env | {f"SWELL_{field}": value for field, value in told.items()}
    command = (sys.executable, "-m", "gateway")
    return url, Program(name=name, command=command, environment=environment, ready=probes.http(f"{url}/health"))


def proxy_beside(stack: Stack, name: str, **told: str) -> tuple[str, Program]:
    """Another registry-proxy of *stack*, told `SWELL_<FIELD>` by *told*: its address, and how it is started."""
    ports = Ports.free()
    where, data = f"127.0.0.1:{ports.registry_proxy}", f"127.0.0.1:{ports.data}"
    told = {"LISTEN": where, "DATA_LISTEN": data, "DATA_URL": f"http://{data}"} | told
    environment = of_this_machine() | stack.env | {f"SWELL_{field}": value for field, value in told.items()}
    command, ready = (sys.executable, "-m", "registry_proxy"), probes.grpc_health(ports.registry_proxy)
    return where, Program(name=name, command=command, environment=environment, ready=ready)
