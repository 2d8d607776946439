"""What is recorded of requests: only this server decides which ones are sampled."""

from collections.abc import Iterator

import pytest

from swell.errors import Unavailable
from swell.log import Trace, current_trace, trace_headers, tracing, tracing_as
from swell.observe.spans import Kind, Span, follow, new_trace, record_request, recording, span

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = CALLER.removesuffix("01") + "00"


@pytest.fixture
def recorded() -> Iterator[list[Span]]:
    """The spans that were recorded; no request from outside is sampled."""
    spans: list[Span] = []
    with recording(spans.append):
        yield spans


def test_without_an_exporter_nothing_is_recorded() -> None:
    """Also not for a trace that another service samples."""
    with tracing("request-7", CALLER), span("work") as current:
        assert current is None
        assert trace_headers()["traceparent"] == CALLER


def test_the_share_of_requests_is_sampled() -> None:
    """The operator sets it; 0 is none, and 1 is all."""
    for share, sampled in {0.0: False, 1.0: True}.items():
        with recording(lambda _: None, share):
            traces = [new_trace("request-7") for _ in range(20)]
        assert {trace.sampled for trace in traces} == {sampled}
        assert len({trace.trace_id for trace in traces}) == 20


def test_spans_of_a_sampled_trace_are_children_of_each_other(recorded: list[Span]) -> None:
    """The span of another service, which it names in `traceparent`, is the outermost parent."""
    with tracing("request-7", CALLER), span("outer", Kind.SERVER) as outer, span("inner", Kind.CLIENT) as inner:
        sent = trace_headers()["traceparent"]

    assert outer and inner
    assert [each.name for each in recorded] == ["inner", "outer"]
    assert outer.parent_id == "b7ad6b7169203331" and inner.parent_id == outer.span_id
    assert sent == f"00-{inner.trace_id}-{inner.span_id}-01" and inner.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert outer.start <= inner.start <= inner.end <= outer.end


def test_a_trace_that_is_not_sampled_is_not_recorded(recorded: list[Span]) -> None:
    """Services follow the decision of the gateway."""
    with tracing("request-7", UNSAMPLED), span("work") as current:
        assert current is None
    assert recorded == []


def test_errors_are_shown_without_their_details(recorded: list[Span]) -> None:
    """Messages for clients are shown; an unexpected exception may contain secrets, so only its class is."""
    for error in (Unavailable("the state store does not answer"), ValueError("password")):
        with pytest.raises(type(error)), tracing("request-7", CALLER), span("work"):
            raise error
    assert [each.error for each in recorded] == ["the state store does not answer", "ValueError"]


def test_a_pull_follows_the_sampled_request_that_led_to_it(recorded: list[Span]) -> None:
    """It keeps its own trace, which is sampled from then on, and is linked once."""
    with tracing_as(Trace("request-8", "a" * 32)):
        follow(CALLER)
        follow(CALLER.replace("0af7", "0af8"))
        with span("wait"):
            pass
        record_request("GET /v2/manifests", 0.5, {"http.route": "/v2/manifests"}, None, failed=False)

    wait, request = recorded
    assert wait.trace_id == request.trace_id == "a" * 32 and wait.parent_id == request.span_id != ""
    assert request.links == (CALLER,)
    assert abs(request.end - request.start - 5e8) < 1e3
    assert request.attributes == {"swell.request_id": "request-8", "http.route": "/v2/manifests"}


@pytest.mark.parametrize("traceparent", ["", UNSAMPLED, "nonsense"])
def test_a_pull_follows_no_other_request(recorded: list[Span], traceparent: str) -> None:
    """Most requests are not sampled, and their pulls decide for themselves."""
    with tracing_as(Trace("request-8", "a" * 32)):
        follow(traceparent)
        assert not current_trace().sampled
    assert recorded == []


def test_the_trace_of_a_client_is_only_linked(recorded: list[Span]) -> None:
    """A malformed header is ignored."""
    with tracing_as(Trace("request-8", "a" * 32, sampled=True, span_id="b" * 16)):
        record_request("GET other", 0.1, {}, CALLER, failed=True)
        record_request("GET other", 0.1, {}, "nonsense", failed=True)

    assert [each.links for each in recorded] == [(CALLER,), ()]
    assert {each.trace_id for each in recorded} == {"a" * 32} and {each.parent_id for each in recorded} == {""}
    assert {each.error for each in recorded} == {"failed"}
