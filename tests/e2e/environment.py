"""The environment of the processes in these tests, without settings for another Swell."""

import os
import sys

from swell.rpc.health import LIVENESS
from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack

NO_LIMITS = {
    f"SWELL_{kind}_LIMIT": "off"
    for kind in ("BUILD", "PULL", "SCAN", "ANONYMOUS_BUILD", "ANONYMOUS_PULL", "ANONYMOUS_SCAN")
}


def of_this_machine() -> dict[str, str]:
    """Return this process's environment without SWELL_ variables. PATH includes the folders of Debian's system
    programs.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
    return environment | {"PATH": f"{environment.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"}


def gateway_beside(stack: Stack, name: str, **settings: str) -> tuple[str, Program]:
    """Return the URL and the program of another gateway of *stack* with *settings*, each `SWELL_<FIELD>`."""
    port = Ports.free().gateway
    url = f"http://localhost:{port}"
    settings = {"LISTEN": f"127.0.0.1:{port}", "SERVER_URL": url} | settings
    environment = of_this_machine() | stack.env | {f"SWELL_{field}": value for field, value in settings.items()}
    command = (sys.executable, "-m", "gateway")
    return url, Program(name=name, command=command, environment=environment, ready=probes.http(f"{url}/health"))


def proxy_beside(stack: Stack, name: str, **settings: str) -> tuple[str, Program]:
    """Return the address and the program of another registry-proxy of *stack* with *settings*, each `SWELL_<FIELD>`."""
    ports = Ports.free()
    address, data = f"127.0.0.1:{ports.registry_proxy}", f"127.0.0.1:{ports.data}"
    settings = {"LISTEN": address, "DATA_LISTEN": data, "DATA_URL": f"http://{data}"} | settings
    environment = of_this_machine() | stack.env | {f"SWELL_{field}": value for field, value in settings.items()}
    command, ready = (sys.executable, "-m", "registry_proxy"), probes.grpc_health(ports.registry_proxy)
    return address, Program(name=name, command=command, environment=environment, ready=ready)


def beside(stack: Stack, module: str, **settings: str) -> tuple[str, Program]:
    """Return the address and the program of another builder, scanner or metrics service of *stack*.

    *settings* are `SWELL_<FIELD>`; a builder and a scanner need a folder of their own.
    """
    port = getattr(Ports.free(), module)
    address = f"127.0.0.1:{port}"
    settings = {"LISTEN": address, "OPERATOR_LISTEN": "off"} | settings
    environment = of_this_machine() | stack.env | {f"SWELL_{field}": value for field, value in settings.items()}
    ready = probes.grpc_health(port, LIVENESS)
    command = (sys.executable, "-m", module)
    return address, Program(name=f"second-{module}", command=command, environment=environment, ready=ready)
