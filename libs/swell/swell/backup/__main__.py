"""`python -m swell.backup`: back up, verify and restore what Swell stores.

`create FOLDER` makes a backup in a new folder; Swell may run meanwhile. `verify FOLDER` checks its digests. `restore
FOLDER` writes it into empty backends, while the services are stopped.
"""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from swell.backup.rights import KEYS, TOKENS
from swell.backup.run import PARTS, create, restore, verify
from swell.backup.settings import Settings
from swell.errors import SwellError
from swell.serve import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit code is 0, 1 when it fails, and 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m swell.backup", description="Back up and restore Swell.")
    actions = parser.add_subparsers(dest="action", required=True)
    creating = actions.add_parser("create", help="make a backup in a new folder")
    verifying = actions.add_parser("verify", help="check the digests of a backup")
    restoring = actions.add_parser("restore", help="write a backup into empty backends")
    for action in (creating, verifying, restoring):
        action.add_argument("folder", type=Path)
    for action in (creating, restoring):
        action.add_argument("--parts", type=_parts, default=PARTS, help=f"some of {','.join(PARTS)}; all by default")
    restoring.add_argument(
        "--overwrite", action="store_true", help="restore into backends that are not empty; their other records stay"
    )
    for kind, what in (
        (TOKENS, "tokens and sessions of browsers"),
        (KEYS, "issued API keys, accounts, stored credentials and webhooks"),
    ):
        restoring.add_argument(
            f"--keep-{kind}",
            action="append_const",
            dest="kept",
            const=kind,
            help=f"restore {what}, also those that were revoked after the backup",
        )
    parsed = parser.parse_args(arguments)
    match parsed.action:
        case "create":
            run("backup", Settings, partial(create, path=parsed.folder, parts=parsed.parts))
        case "restore":
            more = {"path": parsed.folder, "parts": parsed.parts, "overwrite": parsed.overwrite}
            run("backup", Settings, partial(restore, **more, kept=tuple(parsed.kept or ())))
        case _:
            try:
                verify(parsed.folder)
            except SwellError as error:
                sys.exit(f"backup: {error}")


def _parts(value: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(value.split(",")))
    if wrong := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]} is none of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in parts)


if __name__ == "__main__":
    main()
