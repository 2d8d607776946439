"""Figures for the operator, over real HTTP."""

import aiohttp
import pytest

from registry_proxy.adapters.image_cache import STALE
from swell.errors import Unavailable
from swell.telemetry import exposed
from swell_embedded.ports import Ports


async def test_figures_are_told_where_the_operator_wants_them() -> None:
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


def test_without_an_address_nobody_is_told() -> None:
    with exposed(""):
        """No port is opened."""
