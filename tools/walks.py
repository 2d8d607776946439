"""Line counts in `docs/architecture.md`: `python -m tools.walks` writes the current ones.

A row of a walk links to a file, with its line count in the next column: `| 1 | [pull.py](../pull.py) | 120 | … |`.
The row after the last file of a walk has the total: `| | total | 700 | |`.
"""

import re
from collections.abc import Iterator
from pathlib import Path

PAGE = Path("docs/architecture.md")
_ROW = re.compile(r"^(\| \d+ \| \[[^\]]+\]\(([^)#]+)\) \| )(\d+)( \|.*)$")
_TOTAL = re.compile(r"^(\| \| total \| )([\d,]+)( \|.*)$")


def rows(page: Path) -> Iterator[tuple[Path, int]]:
    """Yield each file of a walk with the line count that *page* has."""
    for line in page.read_text().splitlines():
        if match := _ROW.match(line):
            yield page.parent / match[2], int(match[3])


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def updated(page: Path) -> str:
    """Return the text of *page* with current line counts and totals."""
    written, total = [], 0
    for line in page.read_text().splitlines():
        current = line
        if match := _ROW.match(line):
            count = lines_of(page.parent / match[2])
            total += count
            current = f"{match[1]}{count}{match[4]}"
        elif match := _TOTAL.match(line):
            current, total = f"{match[1]}{total:,}{match[3]}", 0
        written.append(current)
    return "\n".join(written) + "\n"


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE))
