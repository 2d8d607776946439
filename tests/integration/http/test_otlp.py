"""Spans reach a collector over real HTTP, and no collector delays a service."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from swell.log import tracing
from swell.observe import otlp
from swell.observe.otlp import exporting
from swell.observe.spans import Kind, span
from swell.settings import SettingsInvalid
from swell_embedded.ports import Ports
from tests.otlp_receiver import OtlpReceiver

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(name: str = "work") -> None:
    with tracing("request-7", CALLER), span(name, Kind.SERVER) as current:
        assert current
        current.attributes |= {"swell.build_id": "bd-1_1", "http.response.status_code": 200}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  a server in this loop answers another task
            await asyncio.sleep(0.02)


def dropped() -> float:
    return REGISTRY.get_sample_value("swell_spans_dropped_total") or 0.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "INTERVAL", 0.02)


async def test_the_collector_gets_spans_with_their_attributes() -> None:
    """It joins them by their ids, and shows the service and the kind."""
    async with OtlpReceiver.open() as receiver, exporting("builder", receiver.url):
        record()
        await until(lambda: bool(receiver.spans))

    (received,) = receiver.spans
    assert (received.service, received.name, received.kind) == ("builder", "work", "SERVER")
    assert (received.trace_id, received.parent_id) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert received.attributes == {"swell.build_id": "bd-1_1", "http.response.status_code": 200}
    assert len(received.span_id) == 16 and received.seconds >= 0 and not received.error


async def test_the_last_spans_are_sent_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that stops exports what it has recorded; many spans go in several requests."""
    monkeypatch.setattr(otlp, "INTERVAL", 60.0)
    async with OtlpReceiver.open() as receiver:
        async with exporting("builder", receiver.url):
            for _ in range(otlp.BATCH + 1):
                record()
        assert len(receiver.spans) == otlp.BATCH + 1 and receiver.requests == 2


async def test_spans_wait_for_a_busy_collector() -> None:
    """It answers 503 and 429 while it is overloaded; nothing is lost and nothing sent twice."""
    async with OtlpReceiver.open() as receiver, exporting("builder", receiver.url):
        receiver.statuses = [503, 429]
        record("first")
        record("second")
        await until(lambda: len(receiver.spans) == 2)
        assert [each.name for each in receiver.spans] == ["first", "second"] and receiver.requests == 3


async def test_refused_spans_are_dropped() -> None:
    """Repeating them would be refused again, and would keep newer ones waiting."""
    before = dropped()
    async with OtlpReceiver.open() as receiver, exporting("builder", receiver.url):
        receiver.statuses = [400]
        record("refused")
        await until(lambda: dropped() == before + 1)
        record("accepted")
        await until(lambda: bool(receiver.spans))
        assert [each.name for each in receiver.spans] == ["accepted"]


async def test_a_missing_collector_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue is bounded: the oldest spans are dropped, and the service stops soon."""
    monkeypatch.setattr(otlp, "QUEUE", 10)
    before = dropped()
    async with exporting("builder", f"http://127.0.0.1:{Ports.free().gateway}/v1/traces"):
        for _ in range(25):
            record()
        assert dropped() == before + 15


async def test_an_invalid_url_stops_the_service() -> None:
    """The message names the setting."""
    with pytest.raises(SettingsInvalid, match="SWELL_TRACES_URL"):
        async with exporting("builder", "collector:4318"):
            pass
