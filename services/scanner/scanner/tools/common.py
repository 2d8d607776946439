"""What the adapters of scan tools share: texts from images and databases, exit statuses, versions."""

import re
from collections.abc import Mapping
from pathlib import Path

from scanner.adapters.programs import Programs, printable
from scanner.domain.failure import ScanFailure
from swell.store.scans import ScanProblem
from swell_sandbox import Mount

_URL = re.compile(r"https?://[!-~]{1,2000}")
_TEXT = 500  # characters of a title


def text_of(value: str) -> str:
    """Return a text of an image or a database in one line: printable, at most 500 characters."""
    return printable(" ".join(value[: 2 * _TEXT].split()))[:_TEXT]


def url_of(value: str) -> str:
    """Return *value* if it is an http or https URL; otherwise an empty text."""
    return value if _URL.fullmatch(value) else ""


def check_status(program: str, status: int, lines: list[str]) -> None:
    """Raise `ScanFailure` with the last *lines* of *program* if its exit status is not 0."""
    if status:
        reason = "; ".join(line for line in lines[-3:] if line) or "no output"
        raise ScanFailure(ScanProblem.TOOL, f"{program} ended with status {status}: {reason}", status)


def not_importable(path: Path, reason: str) -> ScanFailure:
    """The failure of an import of the database *path*."""
    return ScanFailure(ScanProblem.DATABASE_DAMAGED, f"The database {path.name} cannot be imported: {reason}.")


async def version_of(programs: Programs, path: Path, environment: Mapping[str, str]) -> str:
    """Return the version that the program *path* prints, such as `syft 1.57.1`.

    Raises:
        ScanFailure: it does not run here.
    """
    target = f"/scanner/{path.name}"
    async with programs.scratch() as scratch:
        status, lines = await scratch.run((target, "--version"), (Mount(path, target),), environment)
    check_status(path.name, status, lines)
    return lines[-1][:100] if lines else path.name
