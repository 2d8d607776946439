"""The client: what it imports, which requests it makes, and when it repeats them."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from importlib.metadata import requires
from pathlib import Path

import msgspec
import pytest
from tools.sync_client import SOURCE, TARGET, formatted, sync_text

from swell.api.containers import ContainerRequest
from swell_client import RequestFailed, RetryPolicy, Unreachable
from swell_client.body import Answer, decode, encode, failure
from swell_client.errors import ErrorBody, UnexpectedAnswer
from swell_client.requests import conda_source, container_request, file_source, image_source
from swell_client.retry import retry_after

SERVER_ONLY = {
    "grpcio",
    "litestar",
    "nats-py",
    "uvloop",
    "redis",
    "minio",
    "granian",
    "structlog",
    "py-rattler",
    "aiohttp",
}


def closure(name: str) -> set[str]:
    """All distributions that *name* installs, without those of extras that it does not ask for."""
    from packaging.requirements import Requirement

    pending, seen = [Requirement(name)], set[str]()
    while pending:
        wanted = pending.pop()
        if str(wanted) in seen:
            continue
        seen.add(str(wanted))
        for line in requires(wanted.name) or ():
            found = Requirement(line)
            extras = wanted.extras or {""}
            if not found.marker or any(found.marker.evaluate({"extra": extra}) for extra in extras):
                pending.append(
                    Requirement(f"{found.name}[{','.join(sorted(found.extras))}]" if found.extras else found.name)
                )
    return {Requirement(text).name for text in seen}


@pytest.mark.parametrize("name", ["swell-client", "swell-cli"])
def test_nothing_of_a_server_is_installed(name: str) -> None:
    """Users install the client on laptops and in pipelines."""
    assert closure(name) & SERVER_ONLY == set()
    assert "msgspec" in closure(name)


def test_importing_the_client_imports_no_network_code() -> None:
    """`import swell_client` is in every start of a pipeline; a client imports what it needs with its first request."""
    code = "import swell_client, sys; swell_client.Client; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert {"swell_client", "msgspec"} <= set(loaded)
    assert (
        set(loaded) & {"httpx2", "ssl", "tenacity", "asyncio", "structlog", "uvloop", "grpc", "litestar", "nats"}
        == set()
    )


@pytest.mark.parametrize("source", sorted(SOURCE.glob("*.py")), ids=lambda path: path.name)
def test_the_sync_client_is_that_of_the_async_one(source: Path) -> None:
    """Both have one source: run `python -m tools.sync_client` after a change."""
    text = source.read_text()

    assert (TARGET / source.name).read_text() == (formatted(sync_text(text)) if text else "")


def test_members_without_a_value_are_not_sent() -> None:
    """A server of an earlier version refuses members that it does not know, if they have a value."""
    fields = msgspec.json.decode(encode(container_request(image_source("debian"), {"env": {"A": "1"}})))

    assert fields == {
        "containerImage": "debian",
        "containerConfig": {"env": ["A=1"]},
        **dict.fromkeys(("freeze", "mirror", "dryRun", "rebuild"), False),
    }


def test_packages_have_waves_channels_unless_others_are_given() -> None:
    """An environment file has channels of its own."""
    requests = [
        conda_source(["a"], None, None),
        conda_source(["a"], None, ["x"]),
        conda_source([], "dependencies: []", None),
    ]

    assert [request["packages"].channels for request in requests] == [("conda-forge", "bioconda"), ("x",), None]


def test_the_server_reads_what_the_client_writes(tmp_path: Path) -> None:
    """Both use the same messages."""
    path = tmp_path / "Dockerfile"
    path.write_text("FROM scratch\n")
    request = container_request(
        file_source(path, None), {"platform": "linux/arm64", "scan_levels": ["LOW"], "labels": {"a": "b"}}
    )

    assert msgspec.json.decode(encode(request), type=ContainerRequest) == request


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), (" 7 ", 7.0), ("", None), (None, None), ("soon", None), ("-1", None), ("٣", None)],
)
def test_retry_after_is_a_number_of_seconds(header: str | None, seconds: float | None) -> None:
    """What is neither a number nor a date is ignored."""
    assert retry_after(header) == seconds


def test_retry_after_can_be_a_date() -> None:
    """RFC 9110 allows both; a time that is over means now."""
    later = retry_after(format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True))

    assert later is not None
    assert 240 < later <= 300
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0


@pytest.mark.parametrize(
    ("error", "repeats"),
    [
        (Unreachable(), True),
        (RequestFailed(503, ErrorBody()), True),
        (RequestFailed(429, ErrorBody(), 59.0), True),
        (RequestFailed(429, ErrorBody(), 61.0), False),
        (RequestFailed(400, ErrorBody()), False),
        (ValueError(), False),
    ],
)
def test_only_errors_that_can_pass_are_repeated(error: Exception, repeats: bool) -> None:
    """A wait that is longer than the longest one is the user's decision."""
    assert RetryPolicy().repeats(error) is repeats


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"message": "no", "next": "do", "code": 7}', '{"message"'),
        (
            b'{"message": "no such image", "code": "X", "side": "client", "next": "look", "requestId": "r"}',
            "no such image",
        ),
        (b"<html>Bad gateway</html>", "<html>Bad gateway"),
        (b"\xff", "\ufffd"),
        (b"", "status 502"),
    ],
)
def test_an_error_says_what_the_server_said(body: bytes, message: str) -> None:
    """Proxies answer with pages; their text is better than nothing."""
    assert message in str(failure(Answer(502, {}, body)))


def test_a_deeply_nested_answer_is_an_error_of_the_client() -> None:
    """Of a hostile server, or a broken proxy: programs catch `SwellClientError`."""
    nested = b'{"later":' + b"[" * 100_000 + b"]" * 100_000 + b"}"

    assert failure(Answer(502, {}, nested)).status == 502
    with pytest.raises(UnexpectedAnswer):
        decode(Answer(200, {}, nested), ErrorBody)
