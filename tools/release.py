"""Make a release: `make release VERSION=0.2.0`, with `DRY_RUN=1` to see what it would do.

The steps are in RELEASE.md. Everything happens in the working tree of the current directory; nothing is pushed.
"""

import argparse
import re
import subprocess
import sys
from datetime import UTC, date, datetime
from pathlib import Path

CHANGELOG = Path("CHANGELOG.md")
UNRELEASED = "## Unreleased"
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_VERSION_LINE = re.compile(r'^version = "([^"]*)"$', re.MULTILINE)


class ReleaseError(Exception):
    """The release cannot be made; the message says what to change."""


def parse_version(text: str) -> tuple[int, ...]:
    """Read `MAJOR.MINOR.PATCH`; pre-releases are not supported.

    Raises:
        ReleaseError: *text* has another form.
    """
    if not _VERSION.fullmatch(text):
        raise ReleaseError(f"{text!r} is not a version of the form MAJOR.MINOR.PATCH")
    return tuple(map(int, text.split(".")))


def version_of(pyproject: str) -> str:
    """Return the version in the text of a pyproject file.

    Raises:
        ReleaseError: the text has no `version = "…"` line, or several.
    """
    match _VERSION_LINE.findall(pyproject):
        case [version]:
            return str(version)
    raise ReleaseError("a pyproject file must have exactly one line `version = …`")


def with_version(pyproject: str, version: str) -> str:
    """Return the text of a pyproject file with its version replaced by *version*."""
    return _VERSION_LINE.sub(f'version = "{version}"', pyproject)


def section(changelog: str, heading: str) -> str:
    """Return the text below the line that starts with *heading*, up to the next `## ` heading; "" when missing."""
    match = re.search(rf"^{re.escape(heading)}( [^\n]*)?\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL)
    return match[2].strip() if match else ""


def with_release(changelog: str, version: str, day: date) -> str:
    """Move the entries below `## Unreleased` under a heading with *version* and *day*.

    Raises:
        ReleaseError: nothing is unreleased, or *version* has a section already.
    """
    if not section(changelog, UNRELEASED):
        raise ReleaseError(f"{CHANGELOG} has no entries below '{UNRELEASED}'")
    if section(changelog, f"## {version}"):
        raise ReleaseError(f"{CHANGELOG} already has a section for {version}")
    return changelog.replace(f"{UNRELEASED}\n", f"{UNRELEASED}\n\n## {version} ({day})\n", 1)


def pyprojects() -> list[Path]:
    """Return the pyproject files that carry the version: the workspace's, and one a package."""
    return [
        Path("pyproject.toml"),
        *sorted(Path().glob("libs/*/pyproject.toml")),
        *sorted(Path().glob("services/*/pyproject.toml")),
    ]


def check(version: str) -> None:
    """Check that the working tree is ready for release *version*.

    Raises:
        ReleaseError: the tree has changes, the branch is not `main`, the tag exists, the pyproject files differ, or
            *version* is not above the current one.
    """
    new = parse_version(version)
    if changes := _output("git", "status", "--porcelain"):
        raise ReleaseError(f"commit or remove these changes first:\n{changes}")
    if (branch := _output("git", "branch", "--show-current")) != "main":
        raise ReleaseError(f"releases are made on the branch main, not on {branch or 'a detached commit'}")
    if _output("git", "tag", "--list", f"v{version}"):
        raise ReleaseError(f"the tag v{version} exists already")
    versions = {version_of(path.read_text()) for path in pyprojects()}
    if len(versions) != 1:
        raise ReleaseError(f"the pyproject files have different versions: {', '.join(sorted(versions))}")
    if new <= parse_version(current := versions.pop()):
        raise ReleaseError(f"{version} is not above the current version {current}")


def release(version: str, day: date, *, dry_run: bool) -> None:
    """Write the version and the changelog, renew the proto baseline, build wheels, commit, and tag `v<version>`.

    When a step fails before the commit, the working tree is restored.

    Raises:
        ReleaseError: see `check` and `with_release`.
        subprocess.CalledProcessError: `make` or `git` failed; its output says why.
    """
    check(version)
    changelog = with_release(CHANGELOG.read_text(), version, day)
    print(f"Release {version} of {day}:\n\n{section(changelog, f'## {version}')}\n")
    if dry_run:
        print(f"Dry run: would set the version in {len(pyprojects())} files, renew the proto baseline,")
        print(f"build wheels into dist/, commit, and tag v{version}. Nothing has changed.")
        return
    try:
        CHANGELOG.write_text(changelog)
        for path in pyprojects():
            path.write_text(with_version(path.read_text(), version))
        _make("baseline")
        _make("wheels")
        _run("git", "commit", "--quiet", "--all", "--message", f"Release {version}")
    except BaseException:
        _run("git", "restore", "--staged", "--worktree", ".")
        raise
    _run("git", "tag", "--annotate", f"v{version}", "--message", f"Release {version}")
    print(f"Committed and tagged. Publish it with: git push --atomic origin main v{version}")


def notes(version: str) -> str:
    """Return the changelog entries of *version*, for a checkout whose pyproject files have that version.

    Raises:
        ReleaseError: a pyproject file has another version, or the changelog has no such section.
    """
    parse_version(version)
    for path in pyprojects():
        if (current := version_of(path.read_text())) != version:
            raise ReleaseError(f"{path} has version {current}, not {version}")
    if not (entries := section(CHANGELOG.read_text(), f"## {version}")):
        raise ReleaseError(f"{CHANGELOG} has no section for {version}")
    return entries


def _make(target: str) -> None:
    """Run a make target without rebuilding `.venv`, which the new version numbers would make look outdated."""
    _run("make", "--no-print-directory", "-o", ".venv/ready", target)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make a release, or print its notes.")
    parser.add_argument("version", help="MAJOR.MINOR.PATCH; a leading v is allowed with --notes")
    parser.add_argument(
        "--dry-run", action="store_true", help="check everything, print what would be done, change nothing"
    )
    parser.add_argument("--notes", action="store_true", help="print the changelog entries of the checked-out version")
    arguments = parser.parse_args()
    try:
        if arguments.notes:
            print(notes(arguments.version.removeprefix("v")))
        else:
            release(arguments.version, datetime.now(UTC).date(), dry_run=arguments.dry_run)
    except ReleaseError as error:
        sys.exit(f"release: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"release: {' '.join(error.cmd)} failed; nothing has been released")


if __name__ == "__main__":
    main()
