"""`python -m swell.garbage`: print what nothing refers to any more; with `--delete`, remove it."""

import argparse
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from swell.backup.settings import Settings
from swell.garbage.run import OBJECTS, PARTS, RECORDS, collect
from swell.serve import run


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; the exit code is 0, 1 when it fails, and 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m swell.garbage", description="Remove what is not used any more.")
    parser.add_argument("--delete", action="store_true", help="remove it; otherwise it is only printed")
    parser.add_argument(
        "--age", type=_duration, default=timedelta(days=7), help="unused for so long (P7D), at least P2D"
    )
    parser.add_argument("--parts", type=_parts, default=(OBJECTS, RECORDS), help=f"some of {','.join(PARTS)}")
    parsed = parser.parse_args(arguments)

    def work(settings: Settings) -> Coroutine[Any, Any, None]:
        return _collect(settings, parsed.parts, parsed.age, deletes=parsed.delete)

    run("garbage", Settings, work)


async def _collect(settings: Settings, parts: Sequence[str], age: timedelta, *, deletes: bool) -> None:
    await collect(settings, parts, age, deletes=deletes)


def _duration(value: str) -> timedelta:
    try:
        return msgspec.convert(value, timedelta)
    except msgspec.ValidationError as error:
        raise argparse.ArgumentTypeError(f"{value} is no duration such as P7D") from error


def _parts(value: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(value.split(",")))
    if wrong := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]} is none of {', '.join(PARTS)}")
    return parts


if __name__ == "__main__":
    main()
