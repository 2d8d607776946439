"""`python -m gateway.wave_import DUMP.sql[.gz]`: import the records of Wave; see `gateway.wave_import.load`."""

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gateway.wave_import.load import Settings, load
from swell.serve import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit code is 0, 1 when it fails, and 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m gateway.wave_import", description="Import the records of Wave.")
    parser.add_argument("dump", type=Path, help="made by pg_dump in the plain format; may end in .gz")
    parser.add_argument("--dry-run", action="store_true", help="only count the records")
    parsed = parser.parse_args(arguments)
    run("wave-import", Settings, partial(load, dump=parsed.dump, dry_run=parsed.dry_run))


if __name__ == "__main__":
    main()
