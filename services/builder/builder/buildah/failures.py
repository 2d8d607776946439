"""Why buildah failed, read from the last lines of its output."""

import re
from collections.abc import Iterable
from enum import Enum

from builder.domain.cause import shorten
from builder.domain.failure import KILLED, BuildFailure, contains, last_error, name_step
from swell.store.records import Reason


class CacheProblem(Enum):
    REFUSED = "the registry refuses it"
    NO_HISTORY = "a base image has no history, so that its layers cannot be assigned to steps"


_STEP = re.compile(r'^building at STEP "(?P<step>.*)": while running runtime: exit status (?P<status>\d+)$')
_BEGIN = re.compile(r"^(?:\[\d+/\d+\] )?STEP \d+(?:/\d+)?: ")
_OF_ENGINE = re.compile(r"^(?:Error: |error building at STEP |subprocess exited with status |time=\S+ level=)")
_BASE_IMAGE = re.compile(r"^creating build container: (?P<why>.*)|.*no stage or image found with that name")
_HEREDOC = re.compile(r"[Uu]nknown instruction|<<")
_NO_HEREDOCS = (
    "The container file has a here-document (<<EOF), which needs buildah 1.33; this server has an older one. "
    "Join the commands with &&, or copy a file of the build context."
)
_ENGINES = re.compile(r"container: mounting|layer not known|input/output error|too many open files")
_NO_HISTORY = re.compile(r"internal error: history lists \d+ non-empty layers, but we have \d+ layers on disk")
_REGISTRY_FAILS = re.compile(
    r"connection (?:refused|reset)|no route to host|unreachable|timeout|deadline exceeded|\bEOF\b|broken pipe"
    r"|HTTP status: (?:5\d\d|429)|status code (?:5\d\d|429)|toomanyrequests|too many requests",
    re.IGNORECASE,
)
_USERS = re.compile(
    r"building at STEP|in substitution|no contents in|no stages to build|parse error|[Uu]nknown instruction|FROM"
    r"|dockerfile|argument"
)


def begins_step(line: bytes) -> bool:
    """Whether buildah says with *line* that a step begins."""
    return bool(_BEGIN.match(line.decode(errors="replace")))


def diagnose_build(
    status: int, tail: Iterable[bytes], errors: Iterable[bytes] = (), *, no_memory: bool = False, heredoc: bool = False
) -> BuildFailure:
    """Return why `buildah build` failed.

    *status* is its exit status, *tail* are its last lines, and *errors* the last lines of standard error since the last
    step began, which are among them. *no_memory* says that the kernel killed a process for lack of
    memory, *heredoc* that the container file has a here-document.
    """
    lines = [line.decode(errors="replace") for line in tail]
    error = last_error(lines)
    if contains(lines, "no space left on device"):
        return BuildFailure(Reason.DISK, "The disk of the builder is full.", status)
    step = _STEP.match(error)
    if no_memory:
        what = name_step(step["step"]) if step else "A process of the engine"
        return BuildFailure(Reason.MEMORY, f"{what} was killed for using too much memory.", KILLED)
    if step:
        output = _output_of(line.decode(errors="replace") for line in errors) or _output_of(_of_last_step(lines))
        return _diagnose_step(step["step"], int(step["status"]), lines, output)
    if heredoc and _HEREDOC.search(error):
        return BuildFailure(Reason.RECIPE, _NO_HEREDOCS, status)
    if _ENGINES.search(error):
        return BuildFailure(Reason.ENGINE, f"The engine failed: {shorten(error)}.", status)
    if base := _BASE_IMAGE.match(error):
        return BuildFailure(
            Reason.BASE_IMAGE, f"A base image cannot be pulled: {shorten(base['why'] or error)}.", status
        )
    if status > 0 and _USERS.search(error):
        return BuildFailure(Reason.RECIPE, f"The container file cannot be built: {shorten(error)}.", status)
    return BuildFailure(Reason.ENGINE, f"The engine failed: {shorten(error) or f'exit status {status}'}.", status)


def diagnose_cache(tail: Iterable[bytes]) -> CacheProblem | None:
    """Return the problem with the cache that made `buildah build` fail; None if it failed for another reason."""
    error = last_error([line.decode(errors="replace") for line in tail])
    if error.startswith("failed pushing cache to "):
        return CacheProblem.REFUSED
    return CacheProblem.NO_HISTORY if _NO_HISTORY.search(error) else None


def diagnose_push(status: int, tail: Iterable[bytes]) -> BuildFailure:
    """Return why `buildah push` failed."""
    lines = [line.decode(errors="replace") for line in tail]
    if contains(lines, "no space left on device"):
        return BuildFailure(Reason.DISK, "The disk of the builder or of the registry is full.", status)
    error = last_error(lines)
    message = f"The registry refused the image: {shorten(error)}."
    return BuildFailure(Reason.PUSH, message, status, is_temporary=bool(_REGISTRY_FAILS.search(error)))


def _diagnose_step(step: str, status: int, lines: list[str], output: str) -> BuildFailure:
    what = name_step(step)
    if contains(lines, "container exited on killed") or status == KILLED:
        return BuildFailure(Reason.MEMORY, f"{what} was killed, most likely for using too much memory.", KILLED)
    if contains(lines, "exec format error"):
        return BuildFailure(Reason.RECIPE, f"{what} is for a platform that this builder cannot run.", status)
    if contains(lines, "runc create failed") and not contains(lines, "exec: "):
        return BuildFailure(Reason.ENGINE, f"{what} could not be started by the engine.", status)
    return BuildFailure(Reason.RECIPE, f"{what} ended with exit status {status}.", status, output=output)


def _of_last_step(lines: list[str]) -> list[str]:
    begin = max((index + 1 for index, line in enumerate(lines) if _BEGIN.match(line)), default=0)
    return lines[begin:]


def _output_of(lines: Iterable[str]) -> str:
    """Return the *lines* of a step, without those of the engine; empty if they are blank."""
    return "\n".join(line for line in lines if line.strip() and not _OF_ENGINE.match(line))
