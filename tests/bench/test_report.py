"""The page about performance."""

from datetime import UTC, datetime

from tests.bench.bar import Bar, Compared, Round, judge
from tests.bench.report import report

FASTER = Bar(name="pull", unit="requests/s", must=4, aim=8, compared=Compared.RATIO, peer="registry", at_least=True)


def test_the_page_has_the_machine_and_each_figure() -> None:
    """A figure without its machine, its peer and its target says nothing."""
    page = report([judge(FASTER, [Round(12_000, 1000)])], datetime(2026, 11, 30, tzinfo=UTC))

    assert "Measured on 2026-11-30 with" in page
    assert "granian" in page
    assert (
        "| pull, requests/s | registry | 12,000 | 1,000 | 12.0x | 12.0 … 12.0 | ≥ 4.00x | ≥ 8.00x | aim met |" in page
    )
