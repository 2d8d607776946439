"""`python -m tests.bench.compare A B [NAME …]`: measure two revisions alternately, and print both side by side.

Each revision gets its own checkout and virtual environment, and runs its own benchmarks. Alternating runs share the
noise of the machine, so the ratio of their medians says more than two figures of different days.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct

from tests.bench.bar import Bar, Compared, Result, Round
from tests.bench.table import aligned, number

_INSTALL_SECONDS, _MEASURE_SECONDS = 600, 1800
_NAME = re.compile(r"[a-z][a-z-]*")


class Comparison(Struct, frozen=True):
    """The medians of the rounds of two revisions, *before* and *after*, and the smallest and largest round of each."""

    bar: Bar
    before: Sequence[float]
    after: Sequence[float]

    @property
    def change(self) -> float:
        """The median of *after* divided by the median of *before*."""
        return median(self.after) / median(self.before)

    @property
    def is_noise(self) -> bool:
        """Whether the ranges of the rounds overlap."""
        return min(self.before) <= max(self.after) and min(self.after) <= max(self.before)


def compare(before: Sequence[Sequence[Result]], after: Sequence[Sequence[Result]]) -> list[Comparison]:
    """Join the runs of both revisions by the names of their bars; bars that only one of them has are left out.

    Figures beside a peer are compared as such, because the peer shares the noise of its run.
    """
    before_rounds, after_rounds = _rounds(before), _rounds(after)
    bars = {result.bar.name: result.bar for run in after for result in run}
    return [
        Comparison(bar, before_rounds[name], after_rounds[name])
        for name, bar in bars.items()
        if before_rounds.get(name)
    ]


def table(comparisons: Sequence[Comparison]) -> str:
    """Return one line for each of *comparisons*."""
    rows = [("bar", "before", "after", "after / before", "")]
    rows += [
        (
            _title(each.bar),
            _range(each.before),
            _range(each.after),
            f"{number(each.change)}x",
            "" if each.is_noise else _verdict(each),
        )
        for each in comparisons
    ]
    return aligned(rows)


def _rounds(runs: Sequence[Sequence[Result]]) -> Mapping[str, list[float]]:
    figures: dict[str, list[float]] = {}
    for result in (result for run in runs for result in run):
        figures.setdefault(result.bar.name, []).extend(_figure(each, result.bar.compared) for each in result.rounds)
    return figures


def _figure(measured: Round, compared: Compared) -> float:
    """The figure of a round; a difference to the peer may be negative, so its ratio would mean nothing."""
    return measured.ours if compared is Compared.DIFFERENCE else measured.figure(compared)


def _title(bar: Bar) -> str:
    return f"{bar.name}, beside {bar.peer}" if bar.compared is Compared.RATIO else f"{bar.name} [{bar.unit}]"


def _range(rounds: Sequence[float]) -> str:
    return f"{number(median(rounds))} ({number(min(rounds))} … {number(max(rounds))})"


def _verdict(comparison: Comparison) -> str:
    return "better" if (comparison.change > 1) == comparison.bar.at_least else "worse"


def _check_out(revision: str, folder: Path) -> Path:
    """Check out *revision* below *folder* and install it."""
    checkout = folder / re.sub(r"[^0-9A-Za-z.-]", "-", revision)
    _run(["git", "worktree", "add", "-q", "--detach", "--force", str(checkout), revision])
    _run(["make", "-s", ".venv/ready"], checkout, _INSTALL_SECONDS)
    return checkout


def _measure(checkout: Path, names: Sequence[str]) -> list[Result]:
    _run([".venv/bin/python", "-m", "tests.bench", *names], checkout, _MEASURE_SECONDS)
    newest = max((checkout / ".swell/bench").glob("*.json"))
    return msgspec.json.decode(newest.read_bytes(), type=list[Result])


def _run(command: Sequence[str], folder: Path | None = None, seconds: float = 60) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, timeout=seconds)
    except (subprocess.SubprocessError, OSError) as error:
        sys.exit(f"comparison stopped: {error}")


def main() -> None:
    """Exit with 0 for any figures, and with 1 if a revision cannot be installed or measured."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compare", description=__doc__)
    parser.add_argument("before", help="revision, for example HEAD~5 or a tag")
    parser.add_argument("after", help="revision that is compared with it")
    parser.add_argument("names", nargs="*", metavar="NAME", help="measurements; default: all")
    parser.add_argument("--runs", type=int, default=2, help="alternating runs of each revision; default: 2")
    options = parser.parse_args()
    if bad := [name for name in options.names if not _NAME.fullmatch(name)]:
        parser.error(f"there is no measurement {bad[0]}")
    try:
        with TemporaryDirectory(prefix="swell-compare-") as folder:
            checkouts = [_check_out(revision, Path(folder)) for revision in (options.before, options.after)]
            runs = [[_measure(checkout, options.names) for checkout in checkouts] for _ in range(options.runs)]
    finally:
        _run(["git", "worktree", "prune"])
    comparisons = compare([run[0] for run in runs], [run[1] for run in runs])
    print(f"\n{table(comparisons)}")  # noqa: T201  the result of the command


if __name__ == "__main__":
    main()
