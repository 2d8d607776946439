"""What the registry-proxy is told by its environment, each field as SWELL_<FIELD>."""

from datetime import timedelta
from pathlib import Path

from swell.registry.settings import RegistrySettings


class Settings(RegistrySettings, frozen=True, kw_only=True):
    """Addresses are `host:port`.

    `data_url` is how clients reach `data_listen`; its links are signed with `link_key`, which all replicas share.
    `registry_auth_file` holds the operator's credentials for registries, in the format of containers-auth.json.
    `allowed_hosts` (host or host:port) may be connected to although their addresses are private;
    `insecure_registries` (the same forms) are spoken to over http. `stale_age` is how old an image may be that is
    served because its registry is in trouble; PT0S for none.
    """

    redis_url: str
    nats_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    link_key: str
    data_url: str
    listen: str = "127.0.0.1:9101"
    data_listen: str = "127.0.0.1:9091"
    registry_auth_file: Path | None = None
    inspect_slots: int = 64  # images looked at at once; most of the time is waiting for registries
    allowed_hosts: frozenset[str] = frozenset()
    insecure_registries: frozenset[str] = frozenset()
    stale_age: timedelta = timedelta(days=1)
    log_level: str = "INFO"
