"""The records of scans."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum

from msgspec import Struct

from swell.oci.digest import Digest
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import PUBLIC, Principal


class SeverityLevel(StrEnum):
    """The severity of a finding, most severe first; a level that a database calls `Negligible` counts as LOW."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    UNKNOWN = "UNKNOWN"


class ScanSubmission(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to scan. The gateway writes it once, before it publishes the job.

    - `key` names what is scanned, as `image_key` and `build_key` return it.
    - `image` is a complete reference; `digest` is that of its manifest or index, None until its build has ended.
    - `platforms` are those whose images are scanned; if empty, all of an index.
    - `build_id` is the build, or the mirror, that makes the image; of a mirror, `mirror_id` is the same.
    - The image is read with the credentials of `principal`; instead of the copy that a mirror makes, its `source`: who
      pushes the copy may not always read the layers of its repository.
    """

    key: str
    image: str
    created: datetime
    platforms: tuple[str, ...] = ()
    digest: Digest | None = None
    build_id: str | None = None
    mirror_id: str | None = None
    organisation: str = ""
    principal: Principal = PUBLIC
    source: str | None = None

    @property
    def read_image(self) -> Reference:
        """The image whose layers and stored SBOMs are read."""
        return parse_reference(self.source or self.image)


class Finding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One vulnerability of one package.

    - `id` is the CVE if there is one; `aliases` are the other names of the vulnerability.
    - `rating` is the severity in the words of the database, such as `Negligible`.
    - `fixed_version` is empty if no release has a fix; `fix_state` is the database's word, such as `wont-fix`.
    - `platform` is that of the image, if several were scanned.
    - `epss` is the probability of exploitation (0 to 1) and `is_exploited` says whether it is in CISA's catalogue of
      exploited vulnerabilities, if the database has these.
    - `known_since` is the day on which a fix, or with trivy the vulnerability, was published, if the database has it.
    - `waiver` is the reason for which the policy ignores it.
    """

    id: str
    severity: SeverityLevel
    package: str
    version: str
    fixed_version: str = ""
    title: str = ""
    url: str = ""
    aliases: tuple[str, ...] = ()
    rating: str = ""
    fix_state: str = ""
    package_type: str = ""
    package_url: str = ""
    platform: str = ""
    epss: float | None = None
    is_exploited: bool = False
    known_since: date | None = None
    waiver: str = ""


class ScanProblem(StrEnum):
    """Why a scan has no findings; none of these means that the image has no vulnerabilities."""

    IMAGE = "image"
    """The image cannot be read, or is too large."""
    BUILD = "build"
    """The build of the image failed."""
    TOOL = "tool"
    """A program of the scanner failed."""
    TIMED_OUT = "timed-out"
    MEMORY = "memory"
    DISK = "disk"
    DATABASE_MISSING = "database-missing"
    DATABASE_OLD = "database-old"
    DATABASE_DAMAGED = "database-damaged"
    GIVEN_UP = "given-up"
    """No scanner could run it; its job is a dead letter and can be replayed."""


class DatabaseInfo(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The vulnerability database of a match: when it was built, and its schema."""

    built: datetime
    schema: str = ""


class PlatformScan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The scan of one platform's image; `digest` is that of its manifest, and names its stored SBOM."""

    platform: str
    digest: Digest
    packages: int = 0
    counts: Mapping[str, int] = {}


class ScanResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a scan ended. The scanner writes it, and replaces it when stored SBOMs are matched again.

    - `problem` is None if the scan succeeded; then `counts` has the number of findings of each severity, and
      `findings` the most severe ones. With a problem, both are empty: nothing is known.
    - `packages` is the number of packages in all SBOMs. Without packages, nothing could be matched.
    - `policy` is the revision of the policy that says which findings count.
    - `platforms` have a stored SBOM, also if the match failed.
    """

    started: datetime
    finished: datetime
    problem: ScanProblem | None = None
    message: str = ""
    exit_code: int | None = None
    counts: Mapping[str, int] = {}
    packages: int = 0
    findings: tuple[Finding, ...] = ()
    platforms: tuple[PlatformScan, ...] = ()
    tool: str = ""
    database: DatabaseInfo | None = None
    matched: datetime | None = None
    policy: str = ""

    @property
    def succeeded(self) -> bool:
        return self.problem is None

    @property
    def total(self) -> int:
        """The number of findings, before the list was cut."""
        return sum(self.counts.values())

    @property
    def duration(self) -> timedelta:
        return self.finished - self.started


class Scan(Struct, frozen=True, kw_only=True):
    """A scan and, once it has ended, its result."""

    id: str
    submission: ScanSubmission
    result: ScanResult | None = None


class AffectedScan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image for which a new database has findings that the former one did not have."""

    scan_id: str
    image: str
    when: datetime
    database: DatabaseInfo | None = None
    digest: Digest | None = None
    added: Mapping[str, int] = {}
    vulnerabilities: tuple[str, ...] = ()


def image_key(name: str, digest: Digest, platforms: tuple[str, ...], organisation: str = "") -> str:
    """The key of the image *digest* in the repository *name*, for *platforms*; its tags do not count.

    An organisation may have another policy than others, so it has its own scans; they share the SBOM.
    """
    return f"{name}@{digest}#{','.join(platforms)}{_of(organisation)}"


def build_key(build_id: str, organisation: str = "") -> str:
    """The key of the image that the build *build_id* makes, for *organisation*."""
    return f"build:{build_id}{_of(organisation)}"


def _of(organisation: str) -> str:
    return f"#of:{organisation}" if organisation else ""
