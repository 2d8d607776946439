"""The page that users look errors up on."""

from pathlib import Path

from tests.unit.catalogue import catalogue

PAGE = Path(__file__).parents[2] / "docs" / "errors.md"


def test_the_page_of_errors_says_what_the_code_says() -> None:
    """Run `python -m tests.unit.catalogue > docs/errors.md` after a change of the tree."""
    assert PAGE.read_text() == catalogue()
