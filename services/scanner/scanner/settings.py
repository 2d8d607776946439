"""Settings of the scanner; each field is read from SWELL_<FIELD>."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from swell.concurrency.drain import DRAIN
from swell.jobs.settings import NatsSettings
from swell.log import Format
from swell.registry.settings import RegistrySettings
from swell.rpc.settings import ON_LOOPBACK, RpcSettings
from swell.store.connections.settings import RedisSettings, S3Settings


class ToolChoice(StrEnum):
    """The programs of a scan."""

    ANCHORE = "anchore"
    """syft and grype."""
    TRIVY = "trivy"


class Settings(RegistrySettings, frozen=True, kw_only=True):
    """Sizes are bytes.

    `registry_auth_file`, `allowed_hosts` and `insecure_registries` have the values of the registry-proxy: images are
    read by the same rules. `scan_workspace` has running scans and the vulnerability database.
    """

    redis: RedisSettings
    nats: NatsSettings
    s3: S3Settings
    listen: str = "127.0.0.1:9103"
    traces_url: str = ""
    operator_listen: str = "127.0.0.1:9193"
    registry_auth_file: Path | None = None
    allowed_hosts: frozenset[str] = frozenset()
    insecure_registries: frozenset[str] = frozenset()
    job_lease: timedelta = timedelta(seconds=30)
    record_ttl: timedelta = timedelta(days=90)
    scan_workspace: Path
    scan_tool: ToolChoice = ToolChoice.ANCHORE
    """The programs that list packages and match them."""
    scan_concurrency: Annotated[int, Meta(ge=1)] = 1
    build_sboms: bool = True
    """List the packages of each built image that no lock file lists."""
    scan_timeout: timedelta = timedelta(minutes=15)
    scan_memory: int = 4 << 30
    scan_pids: int = 1024
    scan_disk: int = 64 << 30
    scan_image_limit: int = 20 << 30
    """The most bytes of an image's layers, as they are in the registry."""
    scan_output_limit: int = 128 << 20
    """The most bytes of an SBOM or of a report."""
    scan_findings: Annotated[int, Meta(ge=0, le=10_000)] = 100
    """The most findings in a record; counts and the report have all."""
    scan_policy_file: Path | None = None
    """The policy: which findings do not count."""
    scan_user_id: int = 655360
    """The first of the 65536 user and group ids of the programs on this machine."""
    scan_database_url: str = ""
    """The mirror of grype's database: `<url>/v6/latest.json` lists it. Without it, nothing is downloaded."""
    scan_database_file: Path | None = None
    """A database, or its archive, to import whenever the file changes."""
    scan_database_interval: timedelta = timedelta(hours=6)
    """How often the mirror and the file are checked."""
    scan_database_age: timedelta = timedelta(days=5)
    """A database that was built longer ago is not used."""
    scan_database_limit: int = 8 << 30
    """The most bytes of a database, packed and unpacked."""
    drain: timedelta = DRAIN
    rpc: RpcSettings = ON_LOOPBACK
    log_level: str = "INFO"
    log_format: Format = Format.JSON
