"""Container files that begin from an image without running its triggers, the ONBUILD instructions in its config.

Engines run triggers at FROM. `COPY --from` runs none: the files are copied, and the config is written as instructions.
Source: Docker's documentation, "ONBUILD", https://docs.docker.com/reference/dockerfile/#onbuild, and Docker Image
Specification v1.2, "Image JSON Field Descriptions", https://github.com/moby/docker-image-spec/blob/main/spec.md
"""

import json
import re
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import Struct, field

from swell.containerfile import parse
from swell.containerfile.quoting import quote_value
from swell.errors import BadRequest, ManifestInvalid
from swell.oci.unambiguous import check_case

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_PORT = re.compile(r"[0-9]+(?:-[0-9]+)?(?:/[a-z]+)?")
_SIGNAL = re.compile(r"[A-Za-z0-9+]+")
_DURATIONS = {"interval": "interval", "timeout": "timeout", "start-period": "start_period"}


class Healthcheck(Struct, rename="pascal"):
    """Durations are nanoseconds."""

    test: list[str] | None = None
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    retries: int = 0


class RunFields(Struct, rename="pascal"):
    """The run-time fields that an image gives to its children."""

    env: list[str] | None = None
    labels: dict[str, str] | None = None
    user: str | None = None
    working_dir: str | None = None
    exposed_ports: dict[str, object] | None = None
    volumes: dict[str, object] | None = None
    stop_signal: str | None = None
    shell: list[str] | None = None
    healthcheck: Healthcheck | None = None
    entrypoint: list[str] | None = None
    cmd: list[str] | None = None
    triggers: list[str] | None = field(name="OnBuild", default=None)


def run_fields_of(config: Mapping[str, object]) -> RunFields:
    """Return the run-time fields of *config*, the document of an image's config.

    Raises:
        ManifestInvalid: a field has another type, or may be read as another one.
    """
    try:
        fields = config.get("config") or {}
        check_case(config, ("config",))
        check_case(fields if isinstance(fields, dict) else {}, ("OnBuild",))
        return msgspec.convert(fields, RunFields)
    except msgspec.ValidationError as error:
        raise ManifestInvalid(f"the config of the base image is malformed: {error}") from error


def base_of(text: str) -> str | None:
    """Return the base image of *text*; None unless it has one stage that begins from an image."""
    stages = parse(text).stages
    return stages[0].image if len(stages) == 1 else None


def without_triggers(text: str, fields: RunFields) -> str:
    """Return *text*, a container file of one stage, with the files and *fields* of its base image instead of a FROM.

    Raises:
        BadRequest: a value cannot be written as an instruction.
    """
    start = next(instruction for instruction in parse(text) if instruction.name == "FROM")
    lines = text.split("\n")
    files = ["FROM scratch", f"COPY --from={base_of(text)} / /"]
    return "\n".join((*lines[: start.line - 1], *files, *_instructions(fields), *lines[start.last_line :]))


def _instructions(fields: RunFields) -> Iterator[str]:
    yield from _pairs("ENV", dict(entry.partition("=")[::2] for entry in fields.env or ()))
    yield from _pairs("LABEL", fields.labels or {})
    if fields.user:
        yield f"USER {quote_value('User', fields.user)}"
    if fields.working_dir:
        yield f"WORKDIR {quote_value('WorkingDir', fields.working_dir)}"
    if ports := [port for port in fields.exposed_ports or {} if _PORT.fullmatch(port)]:
        yield f"EXPOSE {' '.join(ports)}"
    if volumes := [volume.replace("\\", "\\\\").replace("$", "\\$") for volume in fields.volumes or {}]:
        yield f"VOLUME {json.dumps(volumes)}"
    if fields.stop_signal and _SIGNAL.fullmatch(fields.stop_signal):
        yield f"STOPSIGNAL {fields.stop_signal}"
    if fields.shell:
        yield f"SHELL {json.dumps(fields.shell)}"
    if fields.healthcheck and fields.healthcheck.test:
        yield _healthcheck(fields.healthcheck, fields.healthcheck.test)
    if fields.entrypoint:
        yield f"ENTRYPOINT {json.dumps(fields.entrypoint)}"
    if fields.cmd:
        yield f"CMD {json.dumps(fields.cmd)}"


def _pairs(instruction: str, values: Mapping[str, str]) -> Iterator[str]:
    quoted = [f"{_name(instruction, name)}={quote_value(name, value)}" for name, value in values.items()]
    if quoted:
        yield f"{instruction} {' '.join(quoted)}"


def _name(instruction: str, name: str) -> str:
    if instruction == "LABEL":
        return quote_value("Labels", name)
    if not _NAME.fullmatch(name):
        raise BadRequest(f"the base image has the variable {name[:80]!r}, which is not a name")
    return name


def _healthcheck(check: Healthcheck, test: list[str]) -> str:
    kind, *words = test
    if kind == "NONE":
        return "HEALTHCHECK NONE"
    flags = [f"--{flag}={duration}ns" for flag, name in _DURATIONS.items() if (duration := getattr(check, name))]
    flags += [f"--retries={check.retries}"] if check.retries else []
    command = json.dumps(words) if kind == "CMD" else json.dumps(["/bin/sh", "-c", *words])
    return " ".join(("HEALTHCHECK", *flags, "CMD", command))
