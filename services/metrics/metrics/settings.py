"""Settings of the metrics service; each field is read from SWELL_<FIELD>."""

from datetime import timedelta

from msgspec import Struct

from swell.concurrency.drain import DRAIN
from swell.log import Format


class Settings(Struct, frozen=True, kw_only=True):
    redis_url: str
    nats_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    listen: str = "127.0.0.1:9104"
    drain: timedelta = DRAIN
    rpc_token: str = ""
    traces_url: str = ""
    operator_listen: str = "127.0.0.1:9194"
    log_level: str = "INFO"
    log_format: Format = Format.JSON
