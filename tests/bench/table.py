"""Results for people and for programs: an aligned table and a JSON file."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from tests.bench.bar import Compared, Result

_HEAD = ("bar", "ours", "peer", "compared", "spread", "must", "aim", "")
_MARK = {Compared.RATIO: "{}x", Compared.DIFFERENCE: "+{}", Compared.ALONE: "{}"}


def table(results: Iterable[Result]) -> str:
    """Return one line for each of *results*; words are aligned left, numbers right."""
    return aligned([_HEAD, *(_row(each) for each in results)])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* as lines with aligned columns: the first column to the left, the last as it is, others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths) for row in rows)


def write(results: Sequence[Result], folder: Path, when: datetime) -> Path:
    """Write *results* with their rounds as JSON to *folder*, under a name that sorts by time."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{when:%Y-%m-%dT%H-%M-%SZ}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2))
    return path


def _row(result: Result) -> tuple[str, ...]:
    bar, mark = result.bar, _MARK[result.bar.compared]
    sign = "≥" if bar.at_least else "≤"
    return (
        f"{bar.name} [{bar.unit}]" + (f", beside {bar.peer}" if bar.peer else ""),
        number(result.ours),
        "" if result.peer is None else number(result.peer),
        _marked(mark, result.figure),
        f"{number(result.least)} … {number(result.most)}",
        f"{sign} {_marked(mark, bar.must)}",
        f"{sign} {_marked(mark, bar.aim)}",
        str(result.verdict),
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *numbers, verdict = row
    padded = (number.rjust(width) for number, width in zip(numbers, widths[1:], strict=False))
    return "  ".join((name.ljust(widths[0]), *padded, verdict)).rstrip()


def _marked(mark: str, value: float) -> str:
    return mark.format(number(value)).replace("+-", "-")


def number(value: float) -> str:
    """Return three significant digits: 0.123, 12.3, 1,230."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
