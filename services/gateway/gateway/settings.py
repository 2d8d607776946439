"""The settings of the gateway, from its environment."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from gateway.domain.access.record_access import RecordAccess
from gateway.domain.notices import Preference
from gateway.domain.quota import PATTERN
from swell.concurrency.drain import DRAIN
from swell.jobs.settings import NatsSettings
from swell.log import Format
from swell.net.reach import Reach
from swell.rpc.settings import ON_LOOPBACK, RpcSettings
from swell.store.connections.settings import RedisSettings, S3Settings

Limit = Annotated[str, Meta(pattern=PATTERN)]


class BlobDelivery(StrEnum):
    REDIRECT = "redirect"
    RELAY = "relay"


class ScanGateChoice(StrEnum):
    """Where required scans are enforced: only in the status, which clients read, or at the pull, too."""

    STATUS = "status"
    PULL = "pull"


class SmtpTls(StrEnum):
    """How connections to the mail server are encrypted: after STARTTLS, from their first byte, or not at all."""

    STARTTLS = "starttls"
    IMPLICIT = "implicit"
    NONE = "none"


class Settings(Reach, frozen=True, kw_only=True):
    """Settings of the gateway, each read from SWELL_<FIELD>. Addresses are `host:port`, durations ISO 8601.

    - `server_url` is the URL that clients use; its authority is the first part of each image name.
    - `build_repository` is where builds are pushed. `public_repository`, a host, is for frozen packages without a
      repository of their own; clients may not choose the components `reserved_words` of its paths.
    - `pull_wait` is how long a pull waits for its build; it must be below the idle timeout of a reverse proxy.
    - `commit` is the revision of this server, as clients see it.
    - `blob_delivery` is how clients get blobs: by a redirect, or relayed by this gateway. A relaying gateway reads the
      registry-proxy's `spool` if its disk is shared.
    - `journal` is a folder for counts of pulls while neither NATS nor Redis answers.
    - `accounts_file`, created by `htpasswd -B`, has the accounts that may read metrics and revoke tokens.
    - `api_keys_file` has the hashes of API keys and their identities.
    - `audit_age` is how long the audit trail is kept.
    - `policy_file` has the rules for images, repositories, channels and credentials.
    - `record_access` is who reads records, logs and scans, besides their requesters and operators.
    - `oidc_issuers_file` has the issuers of OpenID Connect whose tokens are accepted. `session_ttl` is how long a
      browser stays signed in.
    - A limit is `permits/period`, such as `250/1h`, or `off`. While permits cannot be counted, all requests are
      accepted (`limits_fail_open`) or refused. `guess_limit` is for unknown tokens and other secrets, per address.
    - Behind a proxy in one of the networks `trusted_proxies`, a client's address is read from `client_address_header`.
    - Without `allow_missing_platforms`, a request for an image that is not available for the platform is refused.
    - `conda_default_channels` are what the Conda channel `defaults` stands for; by default only micromamba accepts it.
    - A client, which is a user or an address, has at most `builds_at_once` running builds, and `builds_waiting` in its
      queue.
    - A client has at most `scans_waiting` scans that have not ended.
    - `encryption_keys` (`id:base64`, the first one encrypts) are for stored secrets, which need them.
    - `platforms_file` names the Seqera Platforms that may be paired, with the hashes of their secrets. A Platform
      answers a request within `platform_timeout`. Its socket is closed after `platform_silence` without a message, and
      its key pair is replaced after `platform_lease`.
    - A lease of a token lasts `lease_step` from its last renewal, at most `lease_limit` from the token's creation. The
      runs that hold tokens are looked up each `lease_check`.
    - `webhooks_file` has the addresses that get notices when builds, mirrors and scans end. `webhook_hosts` (`host` or
      `host:port`) may have private addresses, and need no https, in the webhooks of users. E-mail is sent by
      `smtp_host`, to all users who do not refuse it; `smtp_preference` is for those whose preference is unknown. With
      `smtp_to`, all e-mail goes there.
    - At most `watchers` clients follow logs as events, and `watchers_of_build` of them the same log.
    """

    server_url: str
    redis: RedisSettings
    nats: NatsSettings
    s3: S3Settings
    build_repository: str
    cache_repository: str | None = None
    public_repository: str | None = None
    reserved_words: frozenset[str] = frozenset()
    registry_proxy: str
    metrics: str
    builder: str = "127.0.0.1:9102"
    listen: str = "127.0.0.1:9090"
    gateway_workers: Annotated[int, Meta(ge=1, le=64)] = 1  # processes, best one a core
    gateway_worker: int = 0  # the number of this process; set by the one that starts the workers
    commit: Annotated[str, Meta(pattern=r"^[0-9A-Za-z._+-]{0,64}\Z")] = ""
    token_ttl: timedelta = timedelta(hours=36)
    allow_missing_platforms: bool = False
    conda_default_channels: tuple[str, ...] = ()
    record_ttl: timedelta = timedelta(days=90)
    pull_wait: timedelta = timedelta(minutes=14)
    blob_delivery: BlobDelivery = BlobDelivery.REDIRECT
    spool: Path | None = None
    journal: Path | None = None
    cache_size: int = 32 << 20  # bytes of manifests in the process's cache
    accounts_file: Path | None = None
    api_keys_file: Path | None = None
    record_access: RecordAccess = RecordAccess.ID
    oidc_issuers_file: Path | None = None
    policy_file: Path | None = None
    session_ttl: timedelta = timedelta(hours=12)
    audit_age: timedelta = timedelta(days=365)  # 0 is no audit trail
    anonymous_access: bool = True
    build_limit: Limit = "250/1h"
    pull_limit: Limit = "2000/1m"
    anonymous_build_limit: Limit = "25/1d"
    anonymous_pull_limit: Limit = "100/1h"
    scan_limit: Limit = "250/1h"
    anonymous_scan_limit: Limit = "25/1d"
    scan_gate: ScanGateChoice = ScanGateChoice.STATUS
    scan_builds: bool = False  # scan new builds of requests without scanMode, as Wave does
    guess_limit: Limit = "300/1m"
    live_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] = 20_000  # of a user; 0 is no limit
    anonymous_live_tokens: Annotated[int, Meta(ge=0, le=10_000_000)] = 1_000  # of an address
    limits_fail_open: bool = True
    builds_at_once: Annotated[int, Meta(ge=1)] = 8
    builds_waiting: Annotated[int, Meta(ge=1)] = 100
    scans_waiting: Annotated[int, Meta(ge=1)] = 100
    webhooks_file: Path | None = None
    webhook_hosts: frozenset[str] = frozenset()
    smtp_host: str = ""
    smtp_port: Annotated[int, Meta(ge=1, le=65535)] = 587
    smtp_tls: SmtpTls = SmtpTls.STARTTLS
    smtp_user: str = ""
    smtp_password: str = ""
    smtp_from: str = ""
    smtp_to: str = ""
    smtp_preference: Preference = Preference.ALWAYS_ON
    watchers: Annotated[int, Meta(ge=1)] = 10_000
    watchers_of_build: Annotated[int, Meta(ge=1)] = 5_000
    connections_per_address: Annotated[int, Meta(ge=0)] = 4096  # 0 is no limit
    trusted_proxies: tuple[str, ...] = ()
    client_address_header: str = "X-Forwarded-For"
    encryption_keys: str = ""
    lease_step: timedelta = timedelta(minutes=20)
    lease_limit: timedelta = timedelta(days=2)
    lease_check: timedelta = timedelta(minutes=3)
    platforms_file: Path | None = None
    platform_timeout: timedelta = timedelta(seconds=5)
    platform_silence: timedelta = timedelta(minutes=5)
    platform_lease: timedelta = timedelta(days=1)
    drain: timedelta = DRAIN
    rpc: RpcSettings = ON_LOOPBACK
    traces_url: str = ""
    trace_sampling: Annotated[float, Meta(ge=0, le=1)] = 0.01  # the part of the requests
    operator_listen: str = "127.0.0.1:9190"
    log_level: str = "INFO"
    log_format: Format = Format.JSON
