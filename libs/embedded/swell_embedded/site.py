"""The configuration of one stack: its home folder, ports and secrets, and the SWELL_ variables made from them."""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from swell_embedded import credentials
from swell_embedded.credentials import USER, Secrets
from swell_embedded.errors import CannotStart
from swell_embedded.ports import Ports
from swell_embedded.processes.privileges import Owner, owner_of

BACKEND_VARIABLES = {
    "SWELL_NATS_URL": "nats",
    "SWELL_REDIS_URL": "redis",
    "SWELL_S3_ENDPOINT": "s3",
    "SWELL_BUILD_REPOSITORY": "registry",
}
S3_KEYS = ("SWELL_S3_ACCESS_KEY", "SWELL_S3_SECRET_KEY")
_EXPOSES = frozenset({"SWELL_LISTEN", "SWELL_SERVER_URL", "SWELL_TRUSTED_PROXIES"})  # other machines are clients
_LOCAL_LIVE_TOKENS = 500_000  # about 1 GB of Redis
_SYSTEM_PATH = "/usr/sbin:/sbin"  # has runc; not on every user's PATH


class Site(Struct, frozen=True, kw_only=True):
    """The configuration of one stack; `home` is an absolute path, `environment` is the operator's.

    `owner` owns the files in `home`, and runs every program that does not need root.
    """

    home: Path
    ports: Ports
    secrets: Secrets
    environment: Mapping[str, str]
    owner: Owner

    @property
    def logs(self) -> Path:
        """The folder of log files: `<name>.log` for each program."""
        return self.home / "logs"

    @property
    def registry(self) -> str:
        """The embedded registry's name in images; it is on loopback, so clients use plain HTTP."""
        return f"localhost:{self.ports.registry}"

    @property
    def runs(self) -> frozenset[str]:
        """The names of the embedded backends: those that the environment does not replace."""
        return frozenset(backend for name, backend in BACKEND_VARIABLES.items() if name not in self.environment)

    @property
    def inherited(self) -> dict[str, str]:
        """The operator's environment without SWELL_ variables, which every program inherits."""
        inherited = {name: value for name, value in self.environment.items() if not name.startswith("SWELL_")}
        return inherited | {"PATH": f"{inherited.get('PATH', '/usr/bin:/bin')}:{_SYSTEM_PATH}"}


def prepare(home: Path, ports: Ports, environment: Mapping[str, str]) -> Site:
    """Create *home*, a private folder, with the secrets and auth files that the programs need.

    Raises:
        CannotStart: a file in *home* is damaged.
    """
    given = {name: value for name, value in environment.items() if value or not name.startswith("SWELL_")}
    home = home.resolve()
    owner = owner_of(home, environment)
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    site = Site(home=home, ports=ports, secrets=credentials.load(home), environment=given, owner=owner)
    site.logs.mkdir(exist_ok=True)
    _write_auth_files(site)
    return site


@contextmanager
def locked(home: Path) -> Iterator[None]:
    """Lock *home* while the block runs; the kernel releases the lock when the process ends.

    Raises:
        CannotStart: another stack uses *home*.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise CannotStart(f"another Swell is running in {home}: stop it, or use another SWELL_HOME") from error
        yield


def variables(site: Site) -> dict[str, str]:
    """Return every variable that a service may get; the operator's values override the defaults."""
    ports, secrets = site.ports, site.secrets
    defaults = {
        "SWELL_BUILD_REPOSITORY": f"{site.registry}/swell/build",
        "SWELL_BUILDER": f"127.0.0.1:{ports.builder}",
        "SWELL_DATA_LISTEN": f"127.0.0.1:{ports.data}",
        "SWELL_DATA_URL": f"http://localhost:{ports.data}",
        "SWELL_DRAIN": "PT5S",
        "SWELL_ENCRYPTION_KEYS": secrets.encryption_key,
        "SWELL_JOURNAL": str(site.home / "journal"),
        "SWELL_LINK_KEY": secrets.link_key,
        "SWELL_LOG_LEVEL": "INFO",
        "SWELL_METRICS": f"127.0.0.1:{ports.metrics}",
        "SWELL_NATS_URL": f"nats://{USER}:{secrets.nats_password}@127.0.0.1:{ports.nats}",
        "SWELL_PULL_AUTH_FILE": str(site.home / "auth" / "pull.json"),
        "SWELL_PUSH_AUTH_FILE": str(site.home / "auth" / "push.json"),
        "SWELL_REDIS_URL": f"redis://:{secrets.redis_password}@127.0.0.1:{ports.redis}/0",
        "SWELL_REGISTRY_PROXY": f"127.0.0.1:{ports.registry_proxy}",
        "SWELL_S3_ACCESS_KEY": secrets.s3_access_key,
        "SWELL_S3_ENDPOINT": f"http://127.0.0.1:{ports.s3}",
        "SWELL_S3_SECRET_KEY": secrets.s3_secret_key,
        "SWELL_SCAN_WORKSPACE": str(site.home / "scanner"),
        "SWELL_SERVER_URL": f"http://localhost:{ports.gateway}",
        "SWELL_SPOOL": str(site.home / "spool"),
        "SWELL_WORKSPACE": str(site.home / "builder"),
    }
    if not _EXPOSES & site.environment.keys():  # only users of this machine can connect
        defaults |= {f"SWELL_ANONYMOUS_{kind}_LIMIT": "off" for kind in ("BUILD", "PULL", "SCAN")}
        defaults |= {"SWELL_ANONYMOUS_LIVE_TOKENS": str(_LOCAL_LIVE_TOKENS)}
    if "s3" not in site.runs:  # without keys, the operator's server accepts those of a role of AWS
        defaults = {name: value for name, value in defaults.items() if name not in S3_KEYS}
    overrides = {name: value for name, value in site.environment.items() if name.startswith("SWELL_")}
    hosts = ",".join(filter(None, (site.registry, overrides.get("SWELL_ALLOWED_HOSTS"))))
    shared = ",".join(filter(None, (site.registry, overrides.get("SWELL_SHARED_REGISTRIES"))))
    merged = {
        "SWELL_ALLOWED_HOSTS": hosts,
        "SWELL_REGISTRY_AUTH_FILE": str(site.home / "auth" / "registry.json"),
        "SWELL_SHARED_REGISTRIES": shared if "registry" in site.runs else overrides.get("SWELL_SHARED_REGISTRIES", ""),
    }
    return defaults | overrides | merged


def _write_auth_files(site: Site) -> None:
    """Write the auth files. Services may read all of the embedded registry; a user's FROM may read only `library/`."""
    embedded = "registry" in site.runs
    scopes = {"registry": site.registry, "push": site.registry, "pull": f"{site.registry}/library"}
    for name, scope in scopes.items():
        own = credentials.auth_file(scope, site.secrets.registry_password) if embedded else {}
        content = credentials.merged(own, site.environment.get("SWELL_REGISTRY_AUTH_FILE"))
        credentials.write_private(site.home / "auth" / f"{name}.json", content)
