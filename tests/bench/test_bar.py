"""The verdicts of the benchmark."""

import pytest

from tests.bench.bar import Bar, Compared, Round, Verdict, judge
from tests.bench.table import table

FASTER = Bar(name="pull", unit="/s", must=4, aim=8, compared=Compared.RATIO, peer="registry", at_least=True)
SLOWER = Bar(name="build", unit="ms", must=200, aim=80, compared=Compared.DIFFERENCE, peer="buildah")


def test_the_median_of_the_compared_rounds_counts() -> None:
    """One disturbed round decides nothing. Ratios are taken within a round, on the same machine state."""
    result = judge(FASTER, [Round(500, 100), Round(1000, 100), Round(60, 10)])

    assert (result.figure, result.least, result.most) == (6, 5, 10)
    assert (result.ours, result.peer) == (500, 100)


@pytest.mark.parametrize(
    ("bar", "ours", "verdict"),
    [
        (FASTER, 80, Verdict.AIM),
        (FASTER, 79, Verdict.MUST),
        (FASTER, 39, Verdict.MISSED),
        (SLOWER, 90, Verdict.AIM),
        (SLOWER, 91, Verdict.MUST),
        (SLOWER, 211, Verdict.MISSED),
    ],
)
def test_a_bar_is_met_from_its_bound_on(bar: Bar, ours: float, verdict: Verdict) -> None:
    """For some figures more is better, for others less; the bound itself is sufficient."""
    assert judge(bar, [Round(ours, 10)]).verdict is verdict


def test_the_columns_of_a_table_are_aligned() -> None:
    """Readers compare numbers that stand one below the other."""
    lines = table([judge(FASTER, [Round(12_345, 10)]), judge(SLOWER, [Round(5, 10)])]).splitlines()

    assert (
        len({line.index(mark) + len(mark) for line, mark in zip(lines, ["aim", "≥ 8.00x", "≤ +80.0"], strict=True)})
        == 1
    )
    assert "-5.00" in lines[2]
