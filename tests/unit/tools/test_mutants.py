"""Which changes the mutation test makes; `tests/integration/tools/test_mutants.py` runs it."""

from pathlib import Path

import pytest
from tools.mutants import MODULES, mutants_of

SOURCE = '''"""A module."""
from typing import Protocol

LIMITS = ("a", "b")


class Port(Protocol):
    def close(self) -> None:
        """Close."""


def check(size: int | None, limit: int = 5) -> bool:
    """Check *size*."""
    if size is not None and size > limit:
        raise ValueError(f"{size} is too much")
    return True
'''


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "module.py"
    path.write_text(SOURCE)
    return path


def test_each_decision_is_changed(module: Path) -> None:
    """Elements, comparisons, conditions, numbers, exceptions and results; not annotations, messages or docstrings."""
    assert sorted(mutant.change for mutant in mutants_of(str(module))) == sorted(
        [
            "'a'  ->  'a!'",
            "'b'  ->  'b!'",
            "without 'a'",
            "without 'b'",
            "5  ->  6",
            "5  ->  4",
            "if size is not None and size > limit  ->  if True",
            "if size is not None and size > limit  ->  if False",
            "size is not None and size > limit  ->  size is not None or size > limit",
            "size is not None and size > limit  ->  without size is not None",
            "size is not None and size > limit  ->  without size > limit",
            "size is not None  ->  size is None",
            "size > limit  ->  size <= limit",
            "size > limit  ->  size >= limit",
            "without raise ValueError(f'{size} is too much')",
            "True  ->  False",
            "return True  ->  return None",
        ]
    )


def test_a_mutant_is_the_module_with_one_change(module: Path) -> None:
    """Otherwise the score would be of other changes than those that are printed."""
    original = compile(SOURCE, "module", "exec", dont_inherit=True)
    namespaces = []
    for mutant in mutants_of(str(module)):
        code = compile(mutant.tree(), "module", "exec", dont_inherit=True)
        assert code != original
        namespace: dict[str, object] = {"__name__": "module"}
        exec(code, namespace)  # noqa: S102
        namespaces.append((mutant.change, namespace))
    assert dict(namespaces)["without 'a'"]["LIMITS"] == ("b",)


@pytest.mark.parametrize("path", MODULES)
def test_every_module_has_tests(path: str) -> None:
    """A path that is no longer there would silently shrink the mutation test."""
    root = Path(__file__).parents[3]
    assert (root / path).is_file()
    for test in MODULES[path]:
        assert (root / test).is_file()
