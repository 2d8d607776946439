"""A small OpenTelemetry collector: it receives spans over real HTTP and stores them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from aiohttp import web
from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1 import trace_pb2


class ReceivedSpan(Struct):
    """A span; ids are hexadecimal, `links` are trace ids, `kind` is OTLP's name without its prefix."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    seconds: float
    attributes: dict[str, str | int]
    links: list[str]
    error: str


class OtlpReceiver:
    """Serves `POST /v1/traces` at `url`; `statuses` are its next answers, and 200 afterwards."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[ReceivedSpan] = []
        self.statuses: list[int] = []
        self.requests = 0

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Self]:
        receiver = cls()
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/v1/traces", receiver._receive)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
            yield receiver
        finally:
            await runner.cleanup()

    def of_trace(self, trace_id: str) -> list[ReceivedSpan]:
        return [each for each in self.spans if each.trace_id == trace_id]

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert request.content_type == "application/x-protobuf"
        self.requests += 1
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 200:
            self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        return web.Response(status=status)


def _spans(request: ExportTraceServiceRequest) -> list[ReceivedSpan]:
    found = []
    for group in request.resource_spans:
        service = next(each.value.string_value for each in group.resource.attributes if each.key == "service.name")
        found += [_span(service, span) for scope in group.scope_spans for span in scope.spans]
    return found


def _span(service: str, span: trace_pb2.Span) -> ReceivedSpan:
    values = {each.key: each.value for each in span.attributes}
    return ReceivedSpan(
        service=service,
        name=span.name,
        kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        attributes={key: getattr(value, value.WhichOneof("value") or "") for key, value in values.items()},
        links=[link.trace_id.hex() for link in span.links],
        error=span.status.message if span.status.code == trace_pb2.Status.STATUS_CODE_ERROR else "",
    )
