"""What the registry-proxy is told by its environment, each field as SWELL_<FIELD>."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from swell.registry.settings import RegistrySettings


class Settings(RegistrySettings, frozen=True, kw_only=True):
    """Addresses are `host:port`.

    `data_url` is how clients reach `data_listen`; its links are signed with `link_key`, which all replicas share.
    Clients who reach the object store, as `s3_public_endpoint`, are sent there for what it keeps; without that setting
    the data port sends everything itself. What registries send is kept in the object store until nobody has wanted it
    for `blob_cache_days`, and what passed lately in `spool`, a folder on this machine's disk, at most `spool_size`
    bytes; a larger blob is passed on without being kept.
    `registry_auth_file` holds the operator's credentials for registries, in the format of containers-auth.json.
    `allowed_hosts` (host or host:port) may be connected to although their addresses are private;
    `insecure_registries` (the same forms) are spoken to over http. `stale_age` is how old an image may be that is
    served because its registry is in trouble; PT0S for none. `prometheus_listen` is where figures are for the operator,
    if anywhere: keep it from everybody else.
    """

    redis_url: str
    nats_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    s3_public_endpoint: str | None = None
    blob_cache_days: Annotated[int, Meta(ge=1)] = 30
    spool: Path | None = None  # else below the folder for temporary files
    spool_size: Annotated[int, Meta(ge=0)] = 10 << 30
    link_key: str
    data_url: str
    listen: str = "127.0.0.1:9101"
    data_listen: str = "127.0.0.1:9091"
    registry_auth_file: Path | None = None
    inspect_slots: int = 64  # images looked at at once; most of the time is waiting for registries
    allowed_hosts: frozenset[str] = frozenset()
    insecure_registries: frozenset[str] = frozenset()
    stale_age: timedelta = timedelta(days=1)
    prometheus_listen: str = ""
    connections_per_address: Annotated[int, Meta(ge=0)] = 4096  # to the data port; 0 for any number
    log_level: str = "INFO"
