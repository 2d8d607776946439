"""Figures for the operator, over real HTTP."""

from pathlib import Path

import aiohttp
import pytest

from registry_proxy.adapters.image_cache import STALE
from swell.errors import Unavailable
from swell.telemetry import exposed
from swell_embedded.ports import Ports


async def test_metrics_are_served_at_the_operators_address() -> None:
    """Prometheus reads them there; a port that is taken stops the start with a message."""
    listen = f"127.0.0.1:{Ports.free().metrics}"
    with exposed(listen):
        STALE.labels("tag").inc()
        async with aiohttp.ClientSession() as session, session.get(f"http://{listen}/metrics") as response:
            text = await response.text()
        with pytest.raises(Unavailable, match="cannot listen"), exposed(listen):
            pytest.fail("two at one port")
    assert 'swell_stale_served_total{what="tag"}' in text

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(f"http://{listen}/metrics")


def test_without_an_address_metrics_are_not_served() -> None:
    """Metrics are optional: no port is opened."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with exposed(""):
        assert len(list(Path("/proc/self/fd").iterdir())) == before
