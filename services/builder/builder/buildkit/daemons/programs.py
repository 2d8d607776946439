"""Where BuildKit's programs are: where `make engine` puts what it compiles (deploy/engine), or on PATH."""

from pathlib import Path

from msgspec import Struct

from swell import programs


class Programs(Struct, frozen=True):
    """`version` is what buildkitd says of itself; empty if it has not been asked."""

    buildkitd: Path
    buildctl: Path


def find() -> Programs | None:
    """Return the programs; a compiled release of this tree comes before those on PATH."""
    found = programs.find("engine", "buildkitd", "buildctl")
    return Programs(*found) if found else None


def compiled() -> Path | None:
    """The folder with the release that `go.mod` pins; it need not exist. None outside of a source tree."""
    return programs.compiled("engine")
