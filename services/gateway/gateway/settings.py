"""What the gateway is told by its environment, each field as SWELL_<FIELD>."""

from datetime import timedelta

from msgspec import Struct


class Settings(Struct, frozen=True, kw_only=True):
    """Addresses are `host:port`, durations ISO 8601.

    `server_url` is how clients reach us: its authority begins every image name. `build_repository` is the registry and
    path that builds are pushed to. `pull_wait` bounds how long a pull waits for its build; stay below the idle timeout
    of whatever proxy stands in front.
    """

    server_url: str
    redis_url: str
    nats_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    build_repository: str
    registry_proxy: str
    metrics: str
    listen: str = "127.0.0.1:9090"
    token_ttl: timedelta = timedelta(hours=36)
    record_ttl: timedelta = timedelta(days=90)
    pull_wait: timedelta = timedelta(minutes=14)
    cache_size: int = 64 << 20  # bytes of manifests kept in process
    log_level: str = "INFO"
