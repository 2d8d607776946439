"""The map of the state in `docs/architecture.md` is complete."""

import re
from pathlib import Path

from swell.jobs.streams import STREAMS
from swell.store import keys

PAGE = Path("docs/architecture.md").read_text()


def test_every_redis_key_has_an_owner() -> None:
    """A key without a writing service in the table has no one who may change its form."""
    prefixes = set(re.findall(r"swell:[a-z-]+", Path(keys.__file__).read_text()))

    assert {prefix for prefix in prefixes if prefix not in PAGE} == set()


def test_every_stream_is_in_the_table() -> None:
    """Publisher and consumer of a stream belong to its contract."""
    assert [stream.name for stream in STREAMS if f"`{stream.name}`" not in PAGE] == []
