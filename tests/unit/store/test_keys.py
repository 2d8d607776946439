"""The keys of Redis have one place, and stay what they were."""

import re
from pathlib import Path

from swell.store import keys
from tests.fixtures import saved

SOURCES = [path for folder in ("libs", "services") for path in Path(folder).rglob("*.py") if path.name != "keys.py"]


def test_no_other_module_spells_a_key() -> None:
    """A key that two modules spell can change in one of them only."""
    assert len(SOURCES) > 300
    spelled = [str(path) for path in SOURCES if re.search(r"""["']swell:[a-z]""", path.read_text())]

    assert not spelled


def test_keys_are_those_of_the_previous_version() -> None:
    """Services of two versions share Redis during an upgrade."""
    written = {each.key for each in saved.keys()}  # noqa: SIM118  a function, not a mapping

    assert {keys.COUNTERS, keys.UNFINISHED, keys.QUEUE_ORDER, keys.QUEUE_CLIENT_OF} <= written
    assert any(key.startswith(f"{keys.QUEUE_RUNNING}:") for key in written)
    assert any(key.startswith(keys.grant("")) for key in written)
    assert any(key.startswith(keys.request("")) for key in written)
    assert any(key.startswith(keys.image("")) for key in written)
    assert any(key.startswith(keys.config("")) for key in written)
    assert any(key.startswith(keys.latest_build("")) for key in written)
    assert any(key.endswith(f":{keys.SUBMISSION}") for key in written)
    assert any(key.endswith(f":{keys.INTEREST}") for key in written)
    assert keys.build("bd-1_1", keys.RESULT) == "swell:build:bd-1_1:result"
