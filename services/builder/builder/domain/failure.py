"""Why a build failed, read from what buildah said last."""

import re
from collections.abc import Iterable
from enum import Enum

from swell.errors import BuildFailed
from swell.store.records import Reason

NO_STATUS = -1
INVALID = 65
"""The exit status of who makes SIF files when the image is at fault (sysexits.h, EX_DATAERR)."""

_KILLED = 137


class BuildFailure(BuildFailed):
    """The build ended without an image.

    `exit_status` is that of the step that failed, else the engine's own; -1 when nothing ended by itself.
    """

    def __init__(self, reason: Reason, message: str, exit_status: int = NO_STATUS) -> None:
        super().__init__(message)
        self.reason = reason
        self.exit_status = exit_status


class CacheTrouble(Enum):
    REFUSED = "the registry does not take it"
    NO_HISTORY = "a base image does not tell its history, so its steps cannot be told apart"


_ERROR = re.compile(r"^Error: (.*)$")
_STEP = re.compile(r'^building at STEP "(?P<step>.*)": while running runtime: exit status (?P<status>\d+)$')
_BASE_IMAGE = re.compile(r"^creating build container: (?P<why>.*)|.*no stage or image found with that name")
_HEREDOC = re.compile(r"[Uu]nknown instruction|<<")
_NO_HEREDOCS = (
    "The container file has a here-document (<<EOF), and this server's buildah knows none: that begins with 1.33. "
    "Join the commands with &&, or copy a file of the build context."
)
_DUMP = re.compile(r" &imagebuilder\.Step\{.*\}$")  # what buildah says to its programmers
_ENGINES = re.compile(r"container: mounting|layer not known|input/output error|too many open files")
_NO_HISTORY = re.compile(r"internal error: history lists \d+ non-empty layers, but we have \d+ layers on disk")
_USERS = re.compile(
    r"building at STEP|no contents in|no stages to build|parse error|[Uu]nknown instruction|FROM|dockerfile|argument"
)


def diagnose_build(
    status: int, tail: Iterable[bytes], *, no_memory: bool = False, heredoc: bool = False
) -> BuildFailure:
    """What `buildah build` failed of, from its exit *status* and the last lines it wrote; from what the kernel says:
    that it has ended a process because there was *no_memory*; and from whether the container file has a *heredoc*."""
    lines = [line.decode(errors="replace") for line in tail]
    error = _last_error(lines)
    if _says(lines, "no space left on device"):
        return BuildFailure(Reason.DISK, "The disk of the builder is full.", status)
    step = _STEP.match(error)
    if no_memory:
        what = f"The step '{_short(step['step'])}'" if step else "A process of the engine"
        return BuildFailure(Reason.MEMORY, f"{what} was killed for using too much memory.", _KILLED)
    if step:
        return _diagnose_step(step["step"], int(step["status"]), lines)
    if heredoc and _HEREDOC.search(error):
        return BuildFailure(Reason.RECIPE, _NO_HEREDOCS, status)
    if _ENGINES.search(error):
        return BuildFailure(Reason.ENGINE, f"The engine broke: {_short(error)}.", status)
    if base := _BASE_IMAGE.match(error):
        return BuildFailure(Reason.BASE_IMAGE, f"A base image cannot be had: {_short(base['why'] or error)}.", status)
    if status > 0 and _USERS.search(error):
        return BuildFailure(Reason.RECIPE, f"The container file does not work: {_short(error)}.", status)
    return BuildFailure(Reason.ENGINE, f"The engine broke: {_short(error) or f'exit status {status}'}.", status)


def cache_trouble(tail: Iterable[bytes]) -> CacheTrouble | None:
    """What `buildah build` failed of, if only because it had a cache."""
    error = _last_error([line.decode(errors="replace") for line in tail])
    if error.startswith("failed pushing cache to "):
        return CacheTrouble.REFUSED
    return CacheTrouble.NO_HISTORY if _NO_HISTORY.search(error) else None


def diagnose_push(status: int, tail: Iterable[bytes]) -> BuildFailure:
    """What `buildah push` failed of."""
    lines = [line.decode(errors="replace") for line in tail]
    if _says(lines, "no space left on device"):
        return BuildFailure(Reason.DISK, "The disk of the builder or of the registry is full.", status)
    return BuildFailure(Reason.PUSH, f"The registry did not take the image: {_short(_last_error(lines))}.", status)


def diagnose_sif(status: int, tail: Iterable[bytes]) -> BuildFailure:
    """What making a SIF file of a built image failed of."""
    lines = [line.decode(errors="replace") for line in tail]
    why = _short(_last_error(lines)).rstrip(".")
    if _says(lines, "no space left on device"):
        return BuildFailure(Reason.DISK, "The disk of the builder is full.", status)
    if status in {_KILLED, -9} or _says(lines, "out of memory"):
        return BuildFailure(Reason.MEMORY, "Making the SIF file takes more memory than a build may use.", status)
    if status == INVALID or _says(lines, "file too large"):
        return BuildFailure(Reason.RECIPE, f"No SIF file can be made of the image: {why or 'it is too large'}.", status)
    return BuildFailure(Reason.ENGINE, f"The SIF file cannot be made: {why or f'exit status {status}'}.", status)


def _diagnose_step(step: str, status: int, lines: list[str]) -> BuildFailure:
    what = f"The step '{_short(step)}'"
    if _says(lines, "container exited on killed") or status == _KILLED:
        return BuildFailure(Reason.MEMORY, f"{what} was killed, most likely for using too much memory.", _KILLED)
    if _says(lines, "exec format error"):
        return BuildFailure(Reason.RECIPE, f"{what} is for a platform that this builder cannot run.", status)
    if _says(lines, "runc create failed") and not _says(lines, "exec: "):
        return BuildFailure(Reason.ENGINE, f"{what} could not be started by the engine.", status)
    return BuildFailure(Reason.RECIPE, f"{what} ended with exit status {status}.", status)


def _last_error(lines: list[str]) -> str:
    return next((_DUMP.sub("", found[1]) for line in reversed(lines) if (found := _ERROR.match(line))), "")


def _says(lines: list[str], words: str) -> bool:
    return any(words in line.lower() for line in lines)


def _short(text: str, longest: int = 300) -> str:
    return text if len(text) <= longest else text[:longest] + "…"
