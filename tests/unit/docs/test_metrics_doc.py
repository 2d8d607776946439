"""The page about metrics names every metric with its labels, and no other."""

import re
from pathlib import Path

from tests.unit.docs.metrics import exported

PAGE = Path("docs/deploy/observe.md")
_SUFFIX = re.compile(r"_(?:bucket|sum|count)$")


def documented() -> dict[str, set[str]]:
    """The metrics in the table of the page, each with its labels."""
    rows = re.findall(r"^\| (`swell_[^|]*)\|([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    labels = {names: set(re.findall(r"`(\w+)`", labels)) for names, labels in rows}
    return {name: labels[names] for names in labels for name in re.findall(r"`(swell_\w+)`", names)}


def test_every_metric_is_documented_with_its_labels() -> None:
    """Operators write queries by this table."""
    existing = {_SUFFIX.sub("", name): set(labels) for name, labels in exported().items()}
    assert documented() == existing
