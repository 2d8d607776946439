"""What Wave's command line reads of an answer, and how it prints it."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from swell_cli.wave.duration import format_duration
from swell_cli.wave.options import WaveError

STATUSES = ("PENDING", "BUILDING", "SCANNING", "DONE")

_MAX_BYTES = 16 << 20  # of an answer; the description of an image is the largest
_TEXTS = ("requestId", "containerToken", "targetImage", "containerImage", "buildId", "scanId")
_FLAGS = ("cached", "freeze", "mirror", "succeeded")
_INSTANT = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{0,9}))?(Z|[+-]\d\d:\d\d)", re.ASCII)

Fields = dict[str, Any]
Reader = Callable[[str, Any], Any]


class Number(str):
    """A JSON number as it is written: `12` and `12.0` mean different durations."""

    __slots__ = ()


@contextmanager
def readable() -> Iterator[None]:
    """Report an answer that the block cannot read or print as a `WaveError`: a member of another kind, or too large."""
    try:
        yield
    except (AttributeError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise WaveError("the answer of the server cannot be read") from error


def read_json(body: bytes, endpoint: str) -> Fields:
    """The object in *body*.

    Raises:
        WaveError: it is none; text that is not JSON, or more than 16 MiB, is reported as a failure of the connection.
    """
    try:
        if len(body) > _MAX_BYTES:
            raise ValueError
        found = json.loads(body, parse_int=Number, parse_float=Number)
    except (ValueError, RecursionError) as error:
        raise WaveError(f"Unable to connect to the Wave service: {endpoint}") from error
    if not isinstance(found, dict):
        raise WaveError("the answer is not a JSON object")
    return found


@readable()
def read_answer(found: Fields) -> Fields:
    """The known members of the answer to a request, sorted, without nulls."""
    readers: dict[str, Reader] = dict.fromkeys(_TEXTS, _text) | dict.fromkeys(_FLAGS, _flag) | {"expiration": _instant}
    return _read(found, readers)


@readable()
def read_status(found: Fields) -> Fields:
    """The known members of a status, without nulls; `duration` in seconds."""
    texts = ("id", "buildId", "mirrorId", "scanId", "reason", "detailsUri")
    readers: dict[str, Reader] = dict.fromkeys(texts, _text) | {
        "status": _status,
        "succeeded": _flag,
        "creationTime": _instant,
        "duration": _duration,
        "vulnerabilities": _counts,
    }
    return _read(found, readers)


@readable()
def to_json(fields: Mapping[str, Any]) -> str:
    """*fields* in one line, in the order of the alphabet."""
    return json.dumps(_plain(fields), sort_keys=True, ensure_ascii=False, separators=(",", ":"))


@readable()
def to_yaml(fields: Mapping[str, Any]) -> str:
    """*fields* in blocks, in the order of the alphabet, with a line feed at the end."""
    import yaml  # noqa: PLC0415 - takes time to import

    return yaml.safe_dump(_plain(fields), default_flow_style=False, allow_unicode=True)


@readable()
def awaited_yaml(answer: Fields, status: Fields) -> Fields:
    """*answer* with the members of *status* that YAML has in addition."""
    more: Fields = {
        name: status[name] for name in ("status", "vulnerabilities", "reason", "detailsUri") if name in status
    }
    if "duration" in status:
        more["duration"] = format_duration(status["duration"])
    return answer | more


def _read(found: Fields, readers: Mapping[str, Reader]) -> Fields:
    read = {name: reader(name, found[name]) for name, reader in readers.items() if found.get(name) is not None}
    return dict(sorted(read.items()))


def _plain(value: Any) -> Any:
    """*value* with numbers as numbers."""
    match value:
        case Number():
            return float(value) if any(mark in value for mark in ".eE") else int(value)
        case dict():
            return {name: _plain(member) for name, member in value.items()}
        case list():
            return [_plain(member) for member in value]
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):  # a number is one
        raise WaveError(f"the answer has no text in '{name}'")
    return str(value)


def _flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise WaveError(f"the answer has neither true nor false in '{name}'")
    return value


def _status(name: str, value: Any) -> str:
    if value not in STATUSES:
        raise WaveError(f"the answer has an unknown '{name}': {value}")
    return str(value)


def instant(name: str, value: Any) -> str:
    """An instant with a zone, in UTC, with 0, 3, 6 or 9 digits of a second."""
    from datetime import UTC, datetime  # noqa: PLC0415

    match = _INSTANT.fullmatch(value) if isinstance(value, str) and not isinstance(value, Number) else None
    if not match:
        raise WaveError(f"the answer has no instant in '{name}': {value}")
    when = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).astimezone(UTC)
    digits = (match[2] or "").ljust(9, "0")
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{when:%Y-%m-%dT%H:%M:%S}{f'.{digits}' if digits else ''}Z"


_instant = instant


def _duration(name: str, value: Any) -> Decimal:
    """Seconds with a point; a number without one has nanoseconds, as the real client reads it."""
    if not isinstance(value, Number) or "e" in value.lower():
        raise WaveError(f"the answer has no duration in '{name}': {value}")
    return Decimal(value) if "." in value else Decimal(value) / 1_000_000_000


def _counts(name: str, value: Any) -> dict[str, int]:
    try:
        return {level: int(float(count)) for level, count in sorted(value.items())}
    except (AttributeError, TypeError, ValueError) as error:
        raise WaveError(f"the answer has no numbers in '{name}'") from error
