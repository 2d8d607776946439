"""A builder's logs and a gateway's feeds on one real NATS server."""

from pathlib import Path

import pytest

from builder.adapters.logs import line_sender
from swell.jobs.streams import Nats
from tests.integration.watching.harness import Harness


@pytest.fixture
def harness(nats: Nats, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Harness:
    """One whose queue is there, and may take its time: what a builder does not wait for is lost to watchers."""
    monkeypatch.setattr(line_sender, "_TIMEOUT", 30.0)
    return Harness(nats, tmp_path)
