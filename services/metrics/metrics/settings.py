"""Settings of the metrics service; each field is read from SWELL_<FIELD>."""

from datetime import timedelta
from pathlib import Path

from msgspec import Struct

from swell.concurrency.drain import DRAIN
from swell.jobs.settings import NatsSettings
from swell.log import Format
from swell.rpc.settings import ON_LOOPBACK, RpcSettings
from swell.store.connections.settings import RedisSettings, S3Settings


class Settings(Struct, frozen=True, kw_only=True):
    redis: RedisSettings
    nats: NatsSettings
    s3: S3Settings
    ca_file: Path | None = None
    listen: str = "127.0.0.1:9104"
    drain: timedelta = DRAIN
    rpc: RpcSettings = ON_LOOPBACK
    traces_url: str = ""
    operator_listen: str = "127.0.0.1:9194"
    log_level: str = "INFO"
    log_format: Format = Format.JSON
