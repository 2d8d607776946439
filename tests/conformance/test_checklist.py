"""The checklist of what Wave's clients count on has no row without a test, and no test without a row."""

import re

from tests.conformance.checklist import GOLDEN, LATER, ROWS, claims, names


def test_every_row_has_a_test_or_a_reason() -> None:
    """And not both: whoever makes a row true takes its reason away."""
    proven = claims().keys()

    assert ROWS.keys() - proven == LATER.keys()


def test_every_claim_is_of_a_row() -> None:
    assert claims().keys() <= ROWS.keys()


def test_every_golden_example_has_a_test_or_a_reason() -> None:
    told = {int(number) for name in names() for number in re.findall(r"_e(\d+)(?=_|\Z)", name)}

    assert {number for number, why in GOLDEN.items() if not why} == told
