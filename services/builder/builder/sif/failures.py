"""Diagnose a failed conversion to a SIF file from the last lines of its output."""

from collections.abc import Iterable

from builder.domain.cause import shorten
from builder.domain.failure import KILLED, BuildFailure, contains, last_error
from swell.store.records import Reason

INVALID = 65
"""The exit status of the conversion when the image is at fault (EX_DATAERR in sysexits.h)."""


def diagnose_sif(status: int, tail: Iterable[bytes]) -> BuildFailure:
    """Return why the conversion of an image to a SIF file failed."""
    lines = [line.decode(errors="replace") for line in tail]
    why = shorten(last_error(lines)).rstrip(".")
    if contains(lines, "no space left on device"):
        return BuildFailure(Reason.DISK, "The disk of the builder is full.", status)
    if status in {KILLED, -9} or contains(lines, "out of memory"):
        return BuildFailure(Reason.MEMORY, "Making the SIF file takes more memory than a build may use.", status)
    if status == INVALID or contains(lines, "file too large"):
        return BuildFailure(
            Reason.RECIPE, f"The image cannot be converted to a SIF file: {why or 'it is too large'}.", status
        )
    return BuildFailure(
        Reason.ENGINE, f"The conversion to a SIF file failed: {why or f'exit status {status}'}.", status
    )
