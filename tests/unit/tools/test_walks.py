"""The walks through the code in `docs/architecture.md` name files that exist, with about their length."""

from pathlib import Path

import pytest
from tools.walks import PAGE, lines_of, rows, updated


def test_the_walks_have_current_line_counts() -> None:
    """`python -m tools.walks` updates them. A count may differ by a quarter, so small changes need no update."""
    walks = list(rows(PAGE))

    assert len(walks) > 10
    for path, count in walks:
        assert count == pytest.approx(lines_of(path), rel=0.25), path


def test_counts_and_totals_are_written(tmp_path: Path) -> None:
    """Other lines of the page are not changed."""
    (tmp_path / "a.py").write_text("1\n2\n")
    (tmp_path / "b.py").write_text("1\n")
    page = tmp_path / "page.md"
    page.write_text("# Walk\n| 1 | [a](a.py) | 9 | x |\n| 2 | [b](b.py) | 9 | y |\n| | total | 0 | |\n")

    assert updated(page) == "# Walk\n| 1 | [a](a.py) | 2 | x |\n| 2 | [b](b.py) | 1 | y |\n| | total | 3 | |\n"
