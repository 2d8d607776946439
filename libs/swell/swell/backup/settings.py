"""Settings of backups; each field is read from SWELL_<FIELD>, with the meaning that it has for the services."""

from pathlib import Path

from swell.jobs.settings import NatsSettings
from swell.registry.settings import RegistrySettings
from swell.store.connections.settings import RedisSettings, S3Settings


class Settings(RegistrySettings, frozen=True, kw_only=True):
    """The backends, and the credentials for the registry; images are read and pushed with `push_auth_file`."""

    redis: RedisSettings
    nats: NatsSettings
    s3: S3Settings
    registry_auth_file: Path | None = None
    push_auth_file: Path | None = None
    insecure_registries: frozenset[str] = frozenset()
    allowed_hosts: frozenset[str] = frozenset()
    log_level: str = "WARNING"
