"""What clients read about scans, as in Wave's public API; members that Wave has not are at the end.

Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from collections.abc import Mapping
from datetime import date, datetime

from msgspec import Struct


class VulnerabilityRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One vulnerability of one package; texts are empty if they are unknown.

    `severity` is LOW, MEDIUM, HIGH, CRITICAL or UNKNOWN; `rating` is the word of the database, such as `Negligible`.
    """

    id: str
    severity: str
    title: str
    pkg_name: str
    installed_version: str
    fixed_version: str
    primary_url: str
    rating: str = ""
    aliases: tuple[str, ...] = ()
    package_type: str = ""
    package_url: str = ""
    platform: str = ""
    epss: float | None = None
    exploited: bool = False
    known_since: date | None = None
    waiver: str = ""


class PlatformRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The scan of one platform's image; `counts` has the number of findings by severity."""

    platform: str
    digest: str
    packages: int
    counts: Mapping[str, int] = {}


class ScanRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`GET /v1alpha1/scans/{scanId}`: `status` is PENDING, SUCCEEDED or FAILED.

    The request that it belongs to is not named: its id is a token that opens the image, and scans are shared.
    `vulnerabilities` has the most severe findings; `counts` counts all. A failed scan has neither: `problem` is the
    kind of failure, `message` describes it.
    """

    id: str
    build_id: str | None = None
    mirror_id: str | None = None
    container_image: str
    platform: str = ""
    start_time: datetime
    duration: float | None = None
    status: str
    vulnerabilities: tuple[VulnerabilityRecord, ...] = ()
    exit_code: int | None = None
    logs: str | None = None
    digest: str | None = None
    counts: Mapping[str, int] | None = None
    packages: int | None = None
    platforms: tuple[PlatformRecord, ...] = ()
    tool: str | None = None
    database_time: datetime | None = None
    matched_time: datetime | None = None
    problem: str | None = None
    message: str | None = None


class AffectedRecord(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """An image that a newer database affects: `added` counts the new findings, `vulnerabilities` names them."""

    scan_id: str
    container_image: str
    digest: str | None = None
    time: datetime
    database_time: datetime | None = None
    added: Mapping[str, int] = {}
    vulnerabilities: tuple[str, ...] = ()


class AffectedList(Struct, frozen=True, kw_only=True, rename="camel"):
    """`GET /v1alpha1/scans/affected`: newest first, at most 1,000."""

    images: tuple[AffectedRecord, ...]
