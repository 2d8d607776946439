"""The glossary names code that exists, and its terms are unique."""

import importlib
import re
from collections import Counter
from pathlib import Path

import pytest

TEXT = Path("docs/glossary.md").read_text()
ROWS = [re.split(r"(?<!\\)\|", line)[1:4] for line in TEXT.splitlines() if line.startswith("| ") and "---" not in line]
NAMES = sorted(set(re.findall(r"`(swell(?:\.\w+)+)`", TEXT)))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_code_exists(name: str) -> None:
    """A reader searches for it: a module, or a name in a module."""
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute)


def test_a_path_in_a_service_exists() -> None:
    """Paths begin with the package of the service."""
    paths = re.findall(r"`((?:gateway|builder|registry_proxy|metrics)/[^`]*)`", TEXT)

    assert [path for path in paths if not list(Path("services").glob(f"*/{path}"))] == []


def test_a_term_has_one_meaning() -> None:
    """Two rows for one word would be two meanings."""
    terms = Counter(term.strip() for row in ROWS for term in row[0].split(",") if term.strip() != "term")

    assert [term for term, count in terms.items() if count > 1] == []
