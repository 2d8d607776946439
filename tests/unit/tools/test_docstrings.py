"""Every test has a docstring."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[2]


def undocumented(source: str) -> set[str]:
    """The names of the tests in *source* that have no docstring."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    }


def test_every_test_says_why_it_exists() -> None:
    """A name says what is true; the reason decides whether a failing test or the code is wrong."""
    missing = [
        f"{path.relative_to(TESTS)}: {name}"
        for path in TESTS.rglob("test_*.py")
        for name in undocumented(path.read_text())
    ]

    assert missing == []


def test_a_test_without_a_docstring_is_found() -> None:
    """Also an asynchronous one, and one in a class."""
    source = 'def test_a(): ...\nasync def test_b(): ...\nclass C:\n  def test_c(self): ...\ndef test_d(): "Why."\n'

    assert undocumented(source) == {"test_a", "test_b", "test_c"}
