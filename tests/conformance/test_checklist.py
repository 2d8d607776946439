"""Every row of the checklist has a test, and every test of a row has its row."""

import re

from tests.conformance.checklist import GOLDEN, LATER, ROWS, claims, names


def test_every_row_has_a_test_or_a_reason() -> None:
    """A row has a test or a reason, never both: a new test removes the reason."""
    proven = claims().keys()

    assert ROWS.keys() - proven == LATER.keys()


def test_every_claimed_row_exists() -> None:
    """A typing error in a mark would claim nothing."""
    assert claims().keys() <= ROWS.keys()


def test_every_golden_example_has_a_test_or_a_reason() -> None:
    """An example without either is behaviour that is not checked."""
    tested = {int(number) for name in names() for number in re.findall(r"_e(\d+)(?=_|\Z)", name)}

    assert {number for number, why in GOLDEN.items() if not why} == tested
