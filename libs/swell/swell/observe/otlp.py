"""Export spans to an OpenTelemetry collector over HTTP: in batches, in the background, and never waiting for it.

Source: OpenTelemetry, "OTLP Specification", https://opentelemetry.io/docs/specs/otlp/#otlphttp
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import aiohttp
from prometheus_client import Counter
from yarl import URL

from swell.concurrency.background import background
from swell.log import log, parse_traceparent, warn_once_a_second
from swell.observe.spans import Span, Value, recording
from swell.settings import SettingsInvalid

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue
    from opentelemetry.proto.trace.v1 import trace_pb2

QUEUE = 8192  # spans; the oldest ones are dropped
BATCH = 512  # spans
INTERVAL = 1.0  # seconds between two batches
SECONDS = 10.0  # for a response
AT_STOP = 3.0  # seconds for the last spans
_AGAIN = frozenset({429, 502, 503, 504})

EXPORTED = Counter("swell_spans_exported", "Spans that the collector has accepted.")
DROPPED = Counter(
    "swell_spans_dropped", "Spans that were dropped: the collector is slow, unavailable, or refuses them."
)


@asynccontextmanager
async def exporting(service: str, url: str, share: float = 0.0) -> AsyncIterator[None]:
    """Export the spans of *service* to *url* (`http://host:4318/v1/traces`) during the block, unless it is empty.

    *share* of the requests from outside is sampled, from 0 to 1.

    Raises:
        SettingsInvalid: *url* is not an http or https URL.
    """
    if not url:
        yield
        return
    if URL(url).scheme not in {"http", "https"} or not URL(url).host:
        raise SettingsInvalid("SWELL_TRACES_URL must be a URL such as http://collector:4318/v1/traces")
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session:
        exporter = _Exporter(service, url, session)
        log.info("traces exported", host=URL(url).authority, sampling=share)
        with recording(exporter.add, share):
            try:
                async with background(exporter.run()):
                    yield
            finally:
                await exporter.finish()


class _Exporter:
    def __init__(self, service: str, url: str, session: aiohttp.ClientSession) -> None:
        self._service = service
        self._url = url
        self._session = session
        self._waiting: deque[Span] = deque(maxlen=QUEUE)

    def add(self, span: Span) -> None:
        if len(self._waiting) == QUEUE:
            DROPPED.inc()
        self._waiting.append(span)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            while len(self._waiting) >= BATCH and await self._send():
                pass
            await self._send()

    async def finish(self) -> None:
        """Send what waits, for at most 3 s: the service stops."""
        try:
            async with asyncio.timeout(AT_STOP):
                while self._waiting and await self._send():
                    pass
        except TimeoutError:
            log.info("last spans not exported", count=len(self._waiting))

    async def _send(self) -> bool:
        """Send one batch; return whether the collector has answered. What it may accept later waits in the queue."""
        batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        if not batch:
            return False
        body = _request(self._service, batch).SerializeToString()
        try:
            async with self._session.post(
                self._url, data=body, headers={"Content-Type": "application/x-protobuf"}, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            self._put_back(batch, str(error) or "timeout")
            return False
        if status in _AGAIN:
            self._put_back(batch, f"it answers {status}")
            return False
        if status // 100 == 2:
            EXPORTED.inc(len(batch))
        else:
            DROPPED.inc(len(batch))
            warn_once_a_second("spans refused by the collector", status=status)
        return True

    def _put_back(self, batch: list[Span], reason: str) -> None:
        warn_once_a_second("spans not exported", error=reason)
        free = QUEUE - len(self._waiting)
        DROPPED.inc(max(len(batch) - free, 0))
        self._waiting.extendleft(reversed(batch[max(len(batch) - free, 0) :]))


def _request(service: str, spans: list[Span]) -> "ExportTraceServiceRequest":
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415  memory that few need
        ExportTraceServiceRequest,
    )

    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.extend(_attributes({"service.name": service, "service.namespace": "swell"}))
    scope = group.scope_spans.add()
    scope.scope.name = "swell"
    scope.spans.extend(map(_message, spans))
    return request


def _message(span: Span) -> "trace_pb2.Span":
    from opentelemetry.proto.trace.v1 import trace_pb2  # noqa: PLC0415

    message = trace_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id),
        name=span.name,
        kind=cast("trace_pb2.Span.SpanKind.ValueType", span.kind.value),
        start_time_unix_nano=span.start,
        end_time_unix_nano=span.end,
        attributes=_attributes(span.attributes),
    )
    for parent in map(parse_traceparent, span.links):
        if parent:
            message.links.add(trace_id=bytes.fromhex(parent.trace_id), span_id=bytes.fromhex(parent.span_id))
    if span.error:
        message.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        message.status.message = span.error
    return message


def _attributes(values: dict[str, Value]) -> Iterator["KeyValue"]:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue  # noqa: PLC0415

    for key, value in values.items():
        kind = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
        yield KeyValue(key=key, value=kind)
