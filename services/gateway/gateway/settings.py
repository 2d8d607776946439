"""What the gateway is told by its environment, each field as SWELL_<FIELD>."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain.quota import PATTERN

Limit = Annotated[str, Meta(pattern=PATTERN)]


class BlobDelivery(StrEnum):
    REDIRECT = "redirect"
    RELAY = "relay"


class Settings(Struct, frozen=True, kw_only=True):
    """Addresses are `host:port`, durations ISO 8601.

    `server_url` is how clients reach us: its authority begins every image name. `build_repository` is the registry and
    path that builds are pushed to; `public_repository`, a host, is where frozen packages go that name no other place,
    and `reserved_words` are the parts of its paths that clients may not choose. `pull_wait` bounds how long a pull
    waits for its build; stay below the idle timeout of whatever proxy stands in front. `commit` is the revision that
    this server was made of, for clients to see.
    `blob_delivery` says how clients get the bytes of layers: by a redirect to where they are, or, where clients reach
    nothing but us, relayed; those that are in the registry-proxy's `spool` are then read there, if we share its disk.

    `accounts_file`, made by `htpasswd -B`, names those who may read metrics and revoke tokens; without it nobody may.
    `api_keys_file` is the operator's list of who is who. A limit is `permits/period`, such as `250/1h`, or `off`; while
    they cannot be counted, `limits_fail_open` says whether all may pass or none. `guess_limit` is of the tokens
    that do not exist, each counted once, which an address may ask one gateway for. Behind a proxy whose network is one
    of `trusted_proxies`, a client's address is read from `client_address_header`.

    Without `allow_missing_platforms`, a request for an image is refused when the image is not made for the platform.

    A client, that is a user or an address, has at most `builds_at_once` builds under way and `builds_waiting` behind
    them. A gateway lets `watchers` follow logs as they come, and `watchers_of_build` of them the same one.
    """

    server_url: str
    redis_url: str
    nats_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    build_repository: str
    cache_repository: str | None = None
    public_repository: str | None = None
    reserved_words: frozenset[str] = frozenset()
    registry_proxy: str
    metrics: str
    builder: str = "127.0.0.1:9102"
    listen: str = "127.0.0.1:9090"
    commit: Annotated[str, Meta(pattern=r"^[0-9A-Za-z._+-]{0,64}\Z")] = ""
    token_ttl: timedelta = timedelta(hours=36)
    allow_missing_platforms: bool = False
    record_ttl: timedelta = timedelta(days=90)
    pull_wait: timedelta = timedelta(minutes=14)
    blob_delivery: BlobDelivery = BlobDelivery.REDIRECT
    spool: Path | None = None
    cache_size: int = 64 << 20  # bytes of manifests kept in process
    accounts_file: Path | None = None
    api_keys_file: Path | None = None
    anonymous_access: bool = True
    build_limit: Limit = "250/1h"
    pull_limit: Limit = "2000/1m"
    anonymous_build_limit: Limit = "25/1d"
    anonymous_pull_limit: Limit = "100/1h"
    guess_limit: Limit = "300/1m"
    live_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] = 20_000  # of a user; 0 for any number
    anonymous_live_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] = 1_000  # of an address
    limits_fail_open: bool = True
    builds_at_once: Annotated[int, Meta(ge=1)] = 8
    builds_waiting: Annotated[int, Meta(ge=1)] = 100
    watchers: Annotated[int, Meta(ge=1)] = 10_000
    watchers_of_build: Annotated[int, Meta(ge=1)] = 5_000
    connections_per_address: Annotated[int, Meta(ge=0)] = 4096  # 0 for any number
    trusted_proxies: tuple[str, ...] = ()
    client_address_header: str = "X-Forwarded-For"
    log_level: str = "INFO"
