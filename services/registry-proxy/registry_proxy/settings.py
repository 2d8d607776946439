"""What the registry-proxy is told by its environment, each field as SWELL_<FIELD>."""

from pathlib import Path

from msgspec import Struct


class Settings(Struct, frozen=True, kw_only=True):
    """Addresses are `host:port`.

    `data_url` is how clients reach `data_listen`; its links are signed with `link_key`, which all replicas share.
    `registry_auth_file` holds the operator's credentials for registries, in the format of containers-auth.json.
    `allowed_hosts` (host or host:port) may be connected to although their addresses are private;
    `insecure_registries` are spoken to over http.
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
    log_level: str = "INFO"
