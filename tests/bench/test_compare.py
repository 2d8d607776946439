"""Two revisions, measured alternately."""

from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.compare import compare, table

RATE = Bar(name="pull", unit="requests/s", must=1, aim=2, at_least=True)
TIME = Bar(name="build", unit="ms", must=200, aim=60, compared=Compared.DIFFERENCE, peer="buildctl")
RATIO = Bar(name="relay", unit="MB/s", must=0.7, aim=1, compared=Compared.RATIO, peer="registry", at_least=True)


def run(bar: Bar, *rounds: tuple[float, float | None]) -> list[Result]:
    return [judge(bar, [Round(*each) for each in rounds])]


def test_rounds_of_all_runs_count() -> None:
    """The median is over every round of a revision, not over medians."""
    (row,) = compare([run(RATE, (10, None)), run(RATE, (30, None))], [run(RATE, (40, None), (60, None))])

    assert row.change == 2.5
    assert not row.is_noise


def test_overlapping_rounds_are_noise() -> None:
    """A reader must not see an improvement where the machine was only busy."""
    (row,) = compare([run(RATE, (10, None), (30, None))], [run(RATE, (25, None), (60, None))])

    assert row.is_noise
    assert "better" not in table([row])


def test_a_ratio_to_a_peer_is_compared_as_a_ratio() -> None:
    """The peer shares the noise of its run: a machine that is half as fast changes nothing."""
    (row,) = compare([run(RATIO, (100, 100))], [run(RATIO, (50, 50))])

    assert row.change == 1


def test_a_difference_to_a_peer_is_compared_by_our_own_figure() -> None:
    """A difference may be zero or negative, so it cannot be divided."""
    (row,) = compare([run(TIME, (300, 300))], [run(TIME, (600, 300))])

    assert row.change == 2
    assert table([row]).endswith("worse")


def test_a_bar_of_one_revision_only_is_left_out() -> None:
    """There is nothing to compare it with."""
    assert compare([run(TIME, (1, 1))], [run(RATE, (1, None))]) == []
