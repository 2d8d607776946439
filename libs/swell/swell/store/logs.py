"""The storage of build logs: a stream of lines and steps during the build, two objects after its end.

Lines are numbered from 1 in each attempt; the objects have the lines and the steps of the last attempt. A message in
the stream LOGS has some lines, each with its line feed. Its headers give the attempt and the first line, so a reader
detects gaps, and the changes of steps among these lines. A message may have steps and no lines.
"""

import json
from collections.abc import Iterable

import msgspec
from msgspec import Struct

from swell.api.builds import BuildStep

STREAM = "LOGS"

ATTEMPT = "Swell-Attempt"  # the number of the attempt
FIRST_LINE = "Swell-First-Line"  # the number of the first line of the message
STEPS = "Swell-Steps"  # a JSON array of `LoggedStep`, in ASCII; NATS limits all headers of a message to 64 KiB
COMPLETE = "Swell-Complete"  # in the last message, which has no lines: there are no others


def log_subject(build_id: str) -> str:
    """Return the subject of the lines in the stream LOGS."""
    return f"logs.{build_id}"


def log_key(build_id: str) -> str:
    """Return the key of the complete log in the bucket swell-logs."""
    return f"{build_id}.log"


def steps_key(build_id: str) -> str:
    """Return the key of the steps in the complete log, in the same bucket."""
    return f"{build_id}.steps"


def lock_key(build_id: str) -> str:
    """Return the key of the lock file of a package build, in the same bucket."""
    return f"{build_id}.lock"


class LoggedStep(Struct, frozen=True, array_like=True):
    """A change of a step: the `order`th one (from 1) between *line* and the next line. *line* is 0 before the first."""

    line: int
    order: int
    step: BuildStep


class StoredSteps(Struct, frozen=True):
    """The steps of an attempt, in their order."""

    attempt: int
    steps: tuple[LoggedStep, ...]


def encode_header(steps: Iterable[LoggedStep]) -> str:
    """Encode *steps* as the header `STEPS`."""
    return json.dumps([msgspec.to_builtins(step) for step in steps], separators=(",", ":"))


def decode_header(header: str) -> tuple[LoggedStep, ...]:
    """Decode the header `STEPS`; one that a newer version has written in another way has no steps for this one."""
    try:
        return msgspec.json.decode(header, type=tuple[LoggedStep, ...]) if header else ()
    except msgspec.MsgspecError:
        return ()


def decode_steps(content: bytes, attempt: int) -> tuple[LoggedStep, ...]:
    """Decode the object `steps_key`; it has no steps of *attempt* if an earlier attempt has written it."""
    try:
        stored = msgspec.json.decode(content, type=StoredSteps)
    except msgspec.MsgspecError:
        return ()
    return stored.steps if stored.attempt == attempt else ()


def provenance_key(build_id: str) -> str:
    """Return the key of the `swell.provenance.Provenance` of a build, as JSON, in the same bucket."""
    return f"{build_id}.provenance.json"
