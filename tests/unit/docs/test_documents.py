"""The documents stay true: their links lead to files and headings, and their `make` targets exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")), key=lambda page: page.relative_to(ROOT).as_posix())
LINK = re.compile(r"\[[^\]\n]*\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    """Return *text* without fenced blocks and code spans."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of *page*, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_of_a_page_lead_to_files_and_headings(page: Path) -> None:
    """A heading that changes breaks links in other pages without a message."""
    for path, anchor in LINK.findall(without_code(page.read_text())):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_of_a_page_exist(page: Path) -> None:
    """A reader copies `make NAME` from a page into a terminal."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = set(re.findall(r"(?:^\$ |`)make ([a-z-]+)", page.read_text(), re.MULTILINE))

    assert shown - targets == set()


SECTIONS = ["Context", "Decision", "Consequences", "Alternatives rejected"]
RECORDS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=name_of)
def test_a_decision_record_has_the_usual_shape(record: Path) -> None:
    """Readers find the decision and its reasons at the same place in every record, and every record in the list."""
    lines = record.read_text().splitlines()

    assert lines[0].startswith(f"# {record.name[:4]} ")
    assert lines[2].startswith("Status: ")
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS
    assert f"]({record.name})" in (record.parent / "README.md").read_text()
