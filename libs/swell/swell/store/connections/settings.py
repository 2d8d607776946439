"""The settings of the connections to Redis and to the object store."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

Region = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]
Bucket = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")]


class RedisSettings(Struct, frozen=True, kw_only=True):
    """Each field is read from SWELL_REDIS_<FIELD>.

    - `url` is `redis://user:password@host:6379/0`, with TLS `rediss://`, with escapes (`%40`) in user and password.
      `redis+sentinel://user:password@host:26379,host:26379/NAME/0` has the Sentinels that name the current server of
      NAME; `rediss+sentinel://` uses TLS for the Sentinels, too.
    - `sentinel_user` and `sentinel_password` are for Sentinels that require a login of their own.
    - `certificate_file` and `certificate_key_file` (PEM) are the client's.
    """

    url: str
    sentinel_user: str = ""
    sentinel_password: str = ""
    certificate_file: Path | None = None
    certificate_key_file: Path | None = None


class Addressing(StrEnum):
    """Where the name of a bucket is in a URL."""

    AUTO = "auto"
    """In the host name for AWS, in the path for other servers."""
    PATH = "path"
    VIRTUAL = "virtual"
    """In the host name."""


class S3Settings(Struct, frozen=True, kw_only=True):
    """Each field is read from SWELL_S3_<FIELD>.

    - `endpoint` is the URL of the server: `https://s3.eu-west-1.amazonaws.com`, `http://minio:9000`.
    - Without `access_key` and `secret_key`, the usual chain of AWS has the credentials: variables, shared file, web
      identity, container, instance.
    - With `public_endpoint`, the URL of the server for clients, they are redirected to it.
    """

    endpoint: str
    access_key: str = ""
    secret_key: str = ""
    region: Region = "us-east-1"
    addressing: Addressing = Addressing.AUTO
    layers_bucket: Bucket = "swell-layers"
    logs_bucket: Bucket = "swell-logs"
    reports_bucket: Bucket = "swell-reports"
    public_endpoint: str | None = None
