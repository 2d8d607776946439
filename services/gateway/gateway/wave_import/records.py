"""Convert records of Wave into those of Swell. Names, e-mail addresses and network addresses of users are left out."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, structs

from swell.api.containers import ContainerConfig, ContainerRecord, UserRef
from swell.errors import BadRequest
from swell.oci.digest import Digest, parse_digest
from swell.store.records import Build, BuildResult, MirrorImage, Reason, Submission
from swell.store.scans import Scan, ScanProblem, ScanResult, ScanSubmission
from swell.store.scans.records import Finding, SeverityLevel

BUILD_ID = re.compile(r"(?:bd-)?([0-9a-f]{12,16})_(\d{1,9})")
MIRROR_ID = re.compile(r"mr-[0-9a-f]{12,32}")
SCAN_ID = re.compile(r"sc-([0-9a-f]{12,32})_(\d{1,9})")
TOKEN = re.compile(r"[a-z0-9]{12,64}")
MAX_LOGS, MAX_FINDINGS = 10_000, 1000
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?")

Long = Annotated[str, Meta(max_length=1 << 20)]


class RecordInvalid(BadRequest):
    """A record has not the form that Wave writes."""


class WaveBuild(Struct, rename="camel"):
    """The members of `data` in `wave_build` that are used."""

    target_image: str
    platform: str = "linux/amd64"
    docker_file: Long | None = None
    conda_file: Long | None = None
    start_time: float | str | None = None
    duration: float | str | None = None
    exit_status: int | None = None
    format: str | None = None
    digest: str | None = None
    build_template: str | None = None


class WaveMirror(Struct, rename="camel"):
    """The members of `data` in `wave_mirror` that are used."""

    source_image: str
    target_image: str
    digest: str | None = None
    platform: str | None = None
    creation_time: float | str | None = None
    duration: float | str | None = None
    exit_code: int | None = None
    status: str = "COMPLETED"
    logs: str | None = None


class WaveVulnerability(Struct, rename="camel"):
    id: str
    severity: str = ""
    title: str | None = None
    pkg_name: str | None = None
    installed_version: str | None = None
    fixed_version: str | None = None
    primary_url: str | None = None


class WaveScan(Struct, rename="camel"):
    """The members of `data` in `wave_scan` that are used."""

    container_image: str
    build_id: str | None = None
    mirror_id: str | None = None
    platform: str | None = None
    start_time: float | str | None = None
    duration: float | str | None = None
    status: str = "SUCCEEDED"
    exit_code: int | None = None
    logs: str | None = None
    vulnerabilities: tuple[WaveVulnerability, ...] | None = None


class _User(Struct):
    id: int | None = None


class WaveRequest(Struct, rename="camel"):
    """The members of `data` in `wave_request` that are used."""

    platform: str = "linux/amd64"
    source_image: str = ""
    timestamp: float | str | None = None
    expiration: float | str | None = None
    zone_id: str | None = None
    user: _User | None = None
    workspace_id: int | None = None
    container_image: str | None = None
    container_file: Long | None = None
    container_config: ContainerConfig | None = None
    conda_file: Long | None = None
    tower_endpoint: str | None = None
    build_repository: str | None = None
    cache_repository: str | None = None
    fingerprint: str | None = None
    source_digest: str | None = None
    wave_image: str | None = None
    wave_digest: str | None = None
    build_id: str | None = None
    build_new: bool | None = None
    freeze: bool | None = None
    fusion_version: str | None = None
    mirror: bool | None = None
    scan_id: str | None = None


def build_of(build_id: str, data: bytes, stored: datetime) -> Build:
    """The record of `wave_build`; *stored* is its time if it has none of its own. Raises `RecordInvalid`."""
    if (match := BUILD_ID.fullmatch(build_id)) is None:
        raise RecordInvalid("the id is not that of a build")
    wave = _decoded(data, WaveBuild)
    started = _time(wave.start_time) or stored
    submission = Submission(
        target_image=wave.target_image,
        containerfile=wave.docker_file or "",
        environment=wave.conda_file,
        platform=wave.platform,
        container_id=match[1],
        created=started,
        template=wave.build_template,
        sif=wave.format == "SINGULARITY",
    )
    result = _result(wave.exit_status or 0, started, _length(wave.duration), wave.digest, "The build has failed.")
    return Build(id=f"bd-{match[1]}_{int(match[2])}", submission=submission, result=result)


def mirror_of(mirror_id: str, data: bytes, stored: datetime) -> Build:
    """The record of `wave_mirror`; raises `RecordInvalid`."""
    if not MIRROR_ID.fullmatch(mirror_id):
        raise RecordInvalid("the id is not that of a mirror")
    wave = _decoded(data, WaveMirror)
    started, digest = _time(wave.creation_time) or stored, _digest(wave.digest)
    images = (MirrorImage(source=wave.source_image, target=wave.target_image, digest=digest),) if digest else ()
    submission = Submission(
        target_image=wave.target_image,
        containerfile="",
        platform=wave.platform or "",
        container_id=mirror_id,
        created=started,
        mirror=images,
    )
    status = wave.exit_code if wave.exit_code is not None else int(wave.status != "COMPLETED")
    result = _result(status, started, _length(wave.duration), wave.digest, "The mirror has failed.")
    return Build(id=mirror_id, submission=submission, result=result)


def scan_of(scan_id: str, data: bytes, stored: datetime) -> Scan:
    """The record of `wave_scan`; raises `RecordInvalid`."""
    if not SCAN_ID.fullmatch(scan_id):
        raise RecordInvalid("the id is not that of a scan")
    wave = _decoded(data, WaveScan)
    started = _time(wave.start_time) or stored
    findings = tuple(map(_finding, (wave.vulnerabilities or ())[:MAX_FINDINGS]))
    counts: dict[str, int] = {}
    for finding in findings:
        counts[finding.severity] = counts.get(finding.severity, 0) + 1
    has_failed = wave.status == "FAILED"
    result = ScanResult(
        started=started,
        finished=started + _length(wave.duration),
        problem=ScanProblem.TOOL if has_failed else None,
        message=(wave.logs or "The scan has failed.")[:MAX_LOGS] if has_failed else "",
        exit_code=wave.exit_code,
        counts={} if has_failed else counts,
        findings=() if has_failed else findings,
    )
    submission = ScanSubmission(
        key=f"wave:{scan_id}",
        image=wave.container_image,
        created=started,
        platforms=(wave.platform,) if wave.platform else (),
        build_id=wave.build_id or wave.mirror_id,
        mirror_id=wave.mirror_id,
    )
    return Scan(id=scan_id, submission=submission, result=None if wave.status == "PENDING" else result)


def request_of(token: str, data: bytes, stored: datetime) -> ContainerRecord:
    """The record of `wave_request`; raises `RecordInvalid`. The token itself is not valid here."""
    if not TOKEN.fullmatch(token):
        raise RecordInvalid("the id is not that of a request")
    wave = _decoded(data, WaveRequest)
    fields: dict[str, Any] = structs.asdict(wave)
    timestamp = _time(wave.timestamp) or stored
    config = wave.container_config
    fields |= {
        "id": token,
        "user": UserRef(wave.user.id) if wave.user else None,
        "timestamp": timestamp,
        "expiration": _time(wave.expiration) or timestamp,
        "zone_id": wave.zone_id or "Z",
        "mirror": bool(wave.mirror),
        "container_config": structs.replace(config, layers=()) if config else None,
    }
    return ContainerRecord(**fields)


def _decoded(data: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise RecordInvalid(f"the data cannot be read: {error}") from error


def _result(status: int, started: datetime, length: timedelta, digest: str | None, message: str) -> BuildResult:
    return BuildResult(
        succeeded=status == 0,
        exit_status=status,
        started=started,
        finished=started + length,
        digest=_digest(digest),
        reason=None if status == 0 else Reason.RECIPE,
        message="" if status == 0 else message,
    )


def _finding(wave: WaveVulnerability) -> Finding:
    known = wave.severity in SeverityLevel.__members__
    return Finding(
        id=wave.id[:200],
        severity=SeverityLevel(wave.severity) if known else SeverityLevel.UNKNOWN,
        package=(wave.pkg_name or "")[:500],
        version=(wave.installed_version or "")[:500],
        fixed_version=(wave.fixed_version or "")[:500],
        title=(wave.title or "")[:1000],
        url=url if (url := (wave.primary_url or "")[:1000]).startswith(("https://", "http://")) else "",
    )


def _digest(text: str | None) -> Digest | None:
    try:
        return parse_digest(text) if text else None
    except BadRequest:
        return None


def _time(value: float | str | None) -> datetime | None:
    """A time in seconds since 1970, or as ISO 8601; None if it is missing or malformed."""
    try:
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
        if not value:
            return None
        time = msgspec.convert(value, datetime)
    except (ValueError, OverflowError, OSError, msgspec.ValidationError):
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def _length(value: float | str | None) -> timedelta:
    """A duration in seconds, or as ISO 8601; 0 if it is missing or malformed; at most 30 days."""
    seconds = 0.0
    if isinstance(value, int | float):
        seconds = float(value)
    elif value and (match := _DURATION.fullmatch(value)):
        hours, minutes, rest = (float(part or 0) for part in match.groups())
        seconds = 3600 * hours + 60 * minutes + rest
    return timedelta(seconds=min(max(seconds, 0.0), 30 * 86_400))
