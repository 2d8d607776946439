"""Settings of the registry-proxy; each field is read from SWELL_<FIELD>."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from swell.concurrency.drain import DRAIN
from swell.jobs.settings import NatsSettings
from swell.log import Format
from swell.registry.settings import RegistrySettings
from swell.rpc.settings import ON_LOOPBACK, RpcSettings
from swell.store.connections.settings import RedisSettings, S3Settings


class Settings(RegistrySettings, frozen=True, kw_only=True):
    """Addresses are `host:port`.

    `data_url` is the URL of `data_listen` for clients. Its links are signed with `link_key`, the same in all replicas.
    With `s3.public_endpoint`, clients are redirected to the object store for blobs that it has; without it, the data
    port sends all bytes. Blobs of registries are cached in the object store until `blob_cache_days` days after their
    last use, and in `spool`, a folder on the local disk of at most `spool_size` bytes; larger blobs are not cached.
    `registry_auth_file` has the operator's credentials for registries, in the format of containers-auth.json(5).
    `allowed_hosts` (host or host:port) may have private addresses; `insecure_registries` (the same forms) use plain
    HTTP. `stale_age` is the maximum age of an image that is served while its registry is unavailable; PT0S disables
    this. `operator_listen` serves metrics and health for the operator's network.
    """

    redis: RedisSettings
    nats: NatsSettings
    s3: S3Settings
    blob_cache_days: Annotated[int, Meta(ge=1)] = 30
    spool: Path | None = None  # default: below the folder for temporary files
    spool_size: Annotated[int, Meta(ge=0)] = 10 << 30
    link_key: str
    data_url: str
    listen: str = "127.0.0.1:9101"
    data_listen: str = "127.0.0.1:9091"
    registry_auth_file: Path | None = None
    inspect_slots: int = 64  # concurrent inspections, which mostly wait for registries
    allowed_hosts: frozenset[str] = frozenset()
    insecure_registries: frozenset[str] = frozenset()
    stale_age: timedelta = timedelta(days=1)
    traces_url: str = ""
    operator_listen: str = "127.0.0.1:9191"
    pull_signing_key_file: Path | None = None  # signs augmented images
    connections_per_address: Annotated[int, Meta(ge=0)] = 4096  # to the data port; 0 is no limit
    drain: timedelta = DRAIN
    rpc: RpcSettings = ON_LOOPBACK
    log_level: str = "INFO"
    log_format: Format = Format.JSON
