"""A stand-in for the `wave` command line, which is not available where Swell is tested.

It reads responses as strictly as the real client 1.8.2, and has the same output and exit codes. Its input is the body
that the real client makes from its options.
"""

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import yaml
from msgspec import Struct

from tests.conformance.clients.wire import Clock, RetryRules, Unreachable, Wire

SUBMIT, INSPECT, INFO = "/v1alpha2/container", "/v1alpha1/inspect", "/service-info"
POLL_EVERY = 10.0  # seconds
LIMIT, LIMIT_WITH_TOKEN = timedelta(minutes=15), timedelta(minutes=25)
LEAST_SERVER = (1, 31, 0)

_RULES = RetryRules(frozenset({249, 502, 503, 504}), first_wait=0.15)
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,9})?(Z|[+-]\d\d:\d\d)")
_SEMVER = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_TEXTS = ("requestId", "containerToken", "targetImage", "containerImage", "buildId", "scanId")
_FLAGS = ("cached", "freeze", "mirror", "succeeded")
STATUSES = ("PENDING", "BUILDING", "SCANNING", "DONE")


class Crash(Exception):
    """The real client shows a stack trace and exits with 1."""


class Output(StrEnum):
    PLAIN = ""
    JSON = "json"
    YAML = "yaml"


class Ran(Struct, frozen=True):
    """The output and the exit code of a run."""

    code: int
    stdout: str = ""
    stderr: str = ""


class Number(str):
    """A JSON number as it is written: this client distinguishes `12` and `12.0`."""

    __slots__ = ()


class WaveCli:
    def __init__(self, endpoint: str, clock: Clock | None = None) -> None:
        self.wire = Wire(endpoint, _RULES, clock)

    async def run(
        self, body: Mapping[str, Any] | bytes, output: Output = Output.PLAIN, *, wait: timedelta | None = None
    ) -> Ran:
        """Submit *body*. With *wait* (`--await`), poll until the build is done or that time is over."""
        sent = body if isinstance(body, bytes) else json.dumps(body, sort_keys=True, ensure_ascii=False).encode()
        try:
            answer = read_answer(await self._asked("POST", SUBMIT, sent))
            if wait is None or answer.get("requestId") is None or answer.get("succeeded") is not None:
                return printed(answer, {}, output)
            limit = LIMIT_WITH_TOKEN if _has_token(sent) and wait == LIMIT else wait
            return printed(answer, await self._awaited(str(answer["requestId"]), limit), output)
        except _Failed as failed:
            return Ran(1, stderr=str(failed))

    async def inspect(self, body: Mapping[str, Any] | bytes) -> Ran:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            return Ran(0, _json(read_inspection(await self._asked("POST", INSPECT, sent))) + "\n")
        except _Failed as failed:
            return Ran(1, stderr=str(failed))

    async def info(self) -> Ran:
        """Run `--info`; a note follows the server's version when that is too low."""
        try:
            info = _members(await self._asked("GET", INFO)).get("serviceInfo") or {}
        except _Failed as failed:
            return Ran(1, "Server:\n", str(failed))
        match = _SEMVER.fullmatch(str(info.get("version")))
        if not match:
            raise Crash(f"no semantic version: {info}")
        numbers = tuple(int(match[at]) for at in (1, 2, 3))
        note = "" if numbers >= LEAST_SERVER else " (required: 1.31.0)"
        return Ran(0, f"Server:\n - Version : {match[0]}{note}\n - Endpoint: {self.wire.endpoint}\n")

    async def _asked(self, method: str, path: str, body: bytes | None = None) -> str:
        """Return the text of a response, whose status must be 200."""
        try:
            reply = await self.wire.ask(method, path, body)
        except Unreachable as error:
            raise _Failed(str(error)) from error
        if reply.status != 200:
            raise _Failed(f"[{reply.status}] {reply.text}")
        return reply.text

    async def _awaited(self, request_id: str, limit: timedelta) -> dict[str, Any]:
        started = self.wire.clock.now
        while True:
            status = read_status(await self._asked("GET", f"{SUBMIT}/{request_id}/status"))
            if status.get("status") == "DONE":
                return status
            if self.wire.clock.now - started > limit.total_seconds():
                raise _Failed(f"Build request did not complete within the max await time: {limit}")
            await self.wire.clock.sleep(POLL_EVERY)


class _Failed(Exception):
    """The text for stderr; the exit code is 1."""


def read_answer(text: str) -> dict[str, Any]:
    """Return the eleven known members of the response to a submission, without nulls.

    Raises:
        Crash: a member has a type that the real client cannot read.
    """
    members = _members(text)
    known: dict[str, Any] = {name: _text(name, members.get(name)) for name in _TEXTS}
    known |= {name: _flag(name, members.get(name)) for name in _FLAGS}
    known["expiration"] = _instant("expiration", members.get("expiration"))
    return {name: known[name] for name in sorted(known) if known[name] is not None}


def read_status(text: str) -> dict[str, Any]:
    """Return the members of a status without nulls; `duration` in seconds."""
    members = _members(text)
    if (status := members.get("status")) is not None and status not in STATUSES:
        raise Crash(f"no status: {status!r}")
    texts = ("id", "buildId", "mirrorId", "scanId", "reason", "detailsUri")
    found: dict[str, Any] = {name: _text(name, members.get(name)) for name in texts}
    found |= {
        "status": status,
        "succeeded": _flag("succeeded", members.get("succeeded")),
        "creationTime": _instant("creationTime", members.get("creationTime")),
        "duration": _duration(members.get("duration")),
        "vulnerabilities": members.get("vulnerabilities"),
    }
    return {name: value for name, value in found.items() if value is not None}


def read_inspection(text: str) -> dict[str, Any]:
    """Return what the client prints of an inspection; each layer of a container has the URL of its blob."""
    members = _members(text)
    if container := members.get("container"):
        manifest = container.get("manifest") or {}
        for layer in manifest.get("layers") or ():
            layer["uri"] = f"{container['hostName']}/v2/{container['imageName']}/blobs/{layer['digest']}"
        return {"container": container}
    if index := members.get("index"):
        return {"index": index}
    raise Crash("neither a container nor an index")


def printed(answer: Mapping[str, Any], status: Mapping[str, Any], output: Output) -> Ran:
    """Return the result of a run; *status* is empty if the client did not wait."""
    fields = dict(answer) | ({"succeeded": status["succeeded"]} if "succeeded" in status else {})
    match output:
        case Output.JSON:
            return Ran(0, _json(fields) + "\n")
        case Output.YAML:
            more = ("status", "duration", "vulnerabilities", "reason", "detailsUri")
            fields |= {name: status[name] for name in more if name in status}
            return Ran(0, _yaml(fields))
    if status and "succeeded" not in status:
        raise Crash("the status has no `succeeded`")
    if status and not status["succeeded"]:
        lines = ["Container provisioning did not complete successfully"]
        lines += [status[name] for name in ("reason", "detailsUri") if status.get(name)]
        return Ran(1, stderr="\n".join(lines))
    return Ran(0, f"{answer.get('targetImage')}\n")


def _members(text: str) -> dict[str, Any]:
    """Return the JSON object in *text*. For other text the real client reports that it cannot connect."""
    try:
        members = json.loads(text, parse_int=Number, parse_float=Number)
    except ValueError as error:
        raise _Failed("Unable to connect: the answer is no JSON") from error
    if not isinstance(members, dict):
        raise Crash("the answer is no JSON object")
    return members


def _text(name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):  # the client converts a number to text
        raise Crash(f"{name} is {value!r}")
    return value


def _flag(name: str, value: Any) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise Crash(f"{name} is {value!r}")
    return value


def _instant(name: str, value: Any) -> str | None:
    if value is not None and (isinstance(value, Number) or not _INSTANT.fullmatch(str(value))):
        raise Crash(f"{name} is {value!r}")
    return value


def _duration(value: Any) -> Decimal | None:
    """Return seconds; the real client reads a whole number as nanoseconds."""
    if value is None:
        return None
    if not isinstance(value, Number) or "e" in value.lower():
        raise Crash(f"duration is {value!r}")
    return Decimal(value) if "." in value else Decimal(value).scaleb(-9)


def _has_token(body: bytes) -> bool:
    return bool(json.loads(body).get("towerAccessToken"))


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _yaml(fields: Mapping[str, Any]) -> str:
    """Return block style; times are quoted texts, durations are ISO 8601."""
    plain: dict[str, Any] = {
        name: f"PT{value}S" if isinstance(value, Decimal) else value for name, value in fields.items()
    }
    if counts := fields.get("vulnerabilities"):
        plain["vulnerabilities"] = {severity: int(count) for severity, count in counts.items()}
    return yaml.safe_dump(plain, sort_keys=True, default_flow_style=False, allow_unicode=True) + "\n"
