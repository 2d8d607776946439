"""The page of errors is that of the code."""

from pathlib import Path

from tests.unit.catalogue import catalogue

PAGE = Path(__file__).parents[3] / "docs" / "errors.md"


def test_the_page_of_errors_is_current() -> None:
    """After a change of an error class, run `python -m tests.unit.catalogue > docs/errors.md`."""
    assert PAGE.read_text() == catalogue()
