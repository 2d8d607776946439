"""The five services: their commands, and the minimal environment of each."""

import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import msgspec
from msgspec import Struct

from swell.rpc.health import LIVENESS
from swell.serve import address
from swell_embedded.ports import Ports
from swell_embedded.processes.probes import both, grpc_health, http, tcp
from swell_embedded.processes.program import Probe, Program
from swell_embedded.site import BACKEND_VARIABLES, Site, variables

_S3 = ("SWELL_S3_ENDPOINT", "SWELL_S3_ACCESS_KEY", "SWELL_S3_SECRET_KEY")
_STORES = ("SWELL_DRAIN", "SWELL_LOG_LEVEL", "SWELL_REDIS_URL", "SWELL_NATS_URL", *_S3)


class Service(Struct, frozen=True, kw_only=True):
    """A service: *listens* has its ports (fields of `Ports`; the first is its SWELL_LISTEN), *variables* its settings.

    It starts after the backends whose addresses it gets. Only a *public* service uses the operator's SWELL_LISTEN.
    One with *as_root* runs as root, if the stack was started as root.
    """

    name: str
    command: tuple[str, ...]
    listens: tuple[str, ...]
    ready: Callable[[Ports], Probe]
    variables: tuple[str, ...] = _STORES
    tools: tuple[str, ...] = ()
    public: bool = False
    as_root: bool = False


def _python(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module)


SERVICES = (
    Service(
        name="metrics",
        command=_python("metrics"),
        listens=("metrics",),
        ready=lambda ports: grpc_health(ports.metrics),
    ),
    Service(
        name="registry-proxy",
        command=_python("registry_proxy"),
        listens=("registry_proxy", "data"),
        ready=lambda ports: both(grpc_health(ports.registry_proxy), tcp(ports.data)),
        variables=(
            *_STORES,
            "SWELL_ALLOWED_HOSTS",
            "SWELL_BUILD_REPOSITORY",
            "SWELL_DATA_LISTEN",
            "SWELL_DATA_URL",
            "SWELL_LINK_KEY",
            "SWELL_REGISTRY_AUTH_FILE",
            "SWELL_SHARED_REGISTRIES",
            "SWELL_SPOOL",
        ),
    ),
    Service(
        name="builder",
        command=_python("builder"),
        listens=("builder",),
        ready=lambda ports: grpc_health(ports.builder, LIVENESS),  # without an engine it builds packages
        variables=(
            *_STORES,
            "SWELL_ALLOWED_HOSTS",
            "SWELL_BUILD_REPOSITORY",
            "SWELL_PULL_AUTH_FILE",
            "SWELL_PUSH_AUTH_FILE",
            "SWELL_SHARED_REGISTRIES",
            "SWELL_WORKSPACE",
        ),
        tools=("buildah", "runc", "skopeo"),
        as_root=True,
    ),
    Service(
        name="scanner",
        command=_python("scanner"),
        listens=("scanner",),
        ready=lambda ports: grpc_health(ports.scanner, LIVENESS),  # it may have no programs for scans
        variables=(
            *_STORES,
            "SWELL_ALLOWED_HOSTS",
            "SWELL_BUILD_REPOSITORY",
            "SWELL_REGISTRY_AUTH_FILE",
            "SWELL_SCAN_WORKSPACE",
            "SWELL_SHARED_REGISTRIES",
        ),
        as_root=True,
    ),
    Service(
        name="gateway",
        command=_python("gateway"),
        listens=("gateway",),
        ready=lambda ports: http(f"http://127.0.0.1:{ports.gateway}/health"),
        variables=(
            *_STORES,
            "SWELL_ANONYMOUS_BUILD_LIMIT",
            "SWELL_ANONYMOUS_LIVE_TOKENS",
            "SWELL_ANONYMOUS_PULL_LIMIT",
            "SWELL_ANONYMOUS_SCAN_LIMIT",
            "SWELL_BUILDER",
            "SWELL_BUILD_REPOSITORY",
            "SWELL_ENCRYPTION_KEYS",
            "SWELL_JOURNAL",
            "SWELL_METRICS",
            "SWELL_REGISTRY_PROXY",
            "SWELL_SERVER_URL",
            "SWELL_SPOOL",
        ),
        public=True,
    ),
)
"""In starting order; they stop in reverse, so the gateway stops accepting requests first."""


def program(service: Service, site: Site) -> Program:
    """Return the program that runs *service* on *site*.

    A service of root writes no bytecode files into the tree of a user, who could not remove them.
    """
    values = variables(site)
    chosen = {name: values[name] for name in values if name in service.variables or name in site.environment}
    return Program(
        name=service.name,
        command=service.command,
        environment=site.inherited
        | ({"PYTHONDONTWRITEBYTECODE": "1"} if service.as_root and not site.owner.is_root else {})
        | {"SWELL_OPERATOR_LISTEN": f"127.0.0.1:{site.ports.operator_of(service.name)}"}
        | chosen
        | {"SWELL_LISTEN": _listen(service, site)},
        ready=service.ready(site.ports),
        ports=(*(getattr(site.ports, name) for name in service.listens), site.ports.operator_of(service.name)),
        tools=service.tools,
        as_root=service.as_root,
        grace=_grace(values["SWELL_DRAIN"]),
        needs=tuple(backend for name, backend in BACKEND_VARIABLES.items() if name in chosen and backend in site.runs),
    )


def _grace(drain: str) -> float:
    """The seconds until a service is killed: longer than its *drain*; a service refuses one that cannot be read."""
    with suppress(msgspec.ValidationError):
        return msgspec.convert(drain, timedelta, strict=False).total_seconds() + 5
    return 5.0


def _listen(service: Service, site: Site) -> str:
    moved = site.environment.get("SWELL_LISTEN") if service.public else None
    host = address(moved).host if moved else "127.0.0.1"
    return f"{host}:{getattr(site.ports, service.listens[0])}"
