"""Every test has a docstring."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[2]


_TEST = re.compile(r"^ *(?:async )?def (test_\w+)\(")
_SIGNATURE_END = re.compile(r":(?:  #.*)?$")  # of formatted code


def undocumented(source: str) -> set[str]:
    """The names of the tests in *source* that have no docstring. It reads lines, because to parse takes seconds."""
    missing, lines = set(), iter(source.splitlines())
    for line in lines:
        if not (match := _TEST.match(line)):
            continue
        end = line
        while not _SIGNATURE_END.search(end):
            end = next(lines)
        if not next(lines).lstrip().startswith('"""'):
            missing.add(match[1])
    return missing


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
    source = (
        "def test_a():\n    pass\nasync def test_b(\n    x: int\n) -> None:\n    pass\nclass C:\n    def test_c(self):"
        '\n        pass\ndef test_d(\n    x: int,\n) -> None:  # noqa: D\n    """Why."""\n'
    )

    assert undocumented(source) == {"test_a", "test_b", "test_c"}
