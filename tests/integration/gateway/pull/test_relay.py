"""The relay, with a data port whose bytes the test chooses."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from pathlib import Path

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.adapters.registry_proxy import data_port
from gateway.adapters.registry_proxy.data_port import PIECE, RemoteDataPort
from gateway.http.relay import Relay
from swell import log
from swell.errors import SwellError, Unavailable
from swell.net.http import listening
from swell.serve import Address
from swell_embedded.ports import Ports

OK = b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: x/y\r\nETag: "e"\r\nServer: secret\r\n\r\n'
CONTENT = bytes(range(256)) * (3 << 13)  # 6 MiB, several pieces

NewRelay = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def new_relay() -> NewRelay:
    """Opens a relay in front of *answers*, given in turn, one a connection; *asked* gets the requests."""

    @asynccontextmanager
    async def make(*answers: bytes, asked: list[bytes] | None = None, spool: Path | None = None) -> AsyncIterator[str]:
        left = list(answers)

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            request = await reader.readuntil(b"\r\n\r\n")
            if asked is not None:
                asked.append(request)
            with closing(writer):
                writer.write(left.pop(0) if len(left) > 1 else left[0])
                await writer.drain()
                if left[0].endswith(b"..."):
                    await reader.read()  # until the client closes the connection

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/blobs/x.y"
        relay, where = Relay(RemoteDataPort(spool)), Address("127.0.0.1", Ports.free().gateway)

        async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
            if scope["type"] == "http":
                await relay(url, scope, receive, send)

        async with server, listening(app, where, grace=1):
            yield f"http://127.0.0.1:{where.port}/"

    return make


async def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, Mapping[str, str], bytes]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with aiohttp.request(method, url, headers=named) as answer:
        return answer.status, answer.headers, await answer.read()


async def test_bytes_and_what_is_said_of_them_pass(new_relay: NewRelay) -> None:
    """The headers that clients need, and no internal ones."""
    async with new_relay(OK % len(CONTENT) + CONTENT) as url:
        status, headers, body = await ask(url)

    assert (status, body) == (200, CONTENT)
    assert headers["ETag"] == '"e"'
    assert "secret" not in str(headers)


@pytest.mark.parametrize("status", [200, 206])
async def test_bytes_of_others_are_octets_and_set_no_cookies(new_relay: NewRelay, status: int) -> None:
    """A layer whose media type is text/html would otherwise be a page of this server's."""
    head = b"HTTP/1.1 %d x\r\nContent-Length: 3\r\nContent-Type: text/html\r\nSet-Cookie: a=b\r\n\r\n"
    async with new_relay(head % status + b"<b>") as url:
        answered, headers, body = await ask(url)

    assert (answered, headers["Content-Type"], body) == (status, "application/octet-stream", b"<b>")
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "http://127.0.0.1:1/", "http://10.0.0.1/"])
async def test_a_redirect_of_the_data_port_is_not_passed_on(new_relay: NewRelay, target: str) -> None:
    """The data port follows redirects itself: one that arrives could lead a client to its own network's servers."""
    answer = f"HTTP/1.1 307 x\r\nContent-Length: 0\r\nLocation: {target}\r\n\r\n"
    async with new_relay(answer.encode()) as url, aiohttp.request("GET", url, allow_redirects=False) as got:
        assert got.status == 502
        assert "Location" not in got.headers and target not in await got.text()


async def test_only_what_concerns_the_blob_is_asked_for(new_relay: NewRelay) -> None:
    """A client's credentials and cookies stay here."""
    asked: list[bytes] = []
    async with new_relay(OK % 1 + b"x", asked=asked) as url:
        await ask(url, Range="bytes=0-0", If_Range='"e"', Authorization="Basic secret", Cookie="secret")

    assert b"\r\nrange: bytes=0-0\r\n" in asked[0] and b'\r\nif-range: "e"\r\n' in asked[0]
    assert b"secret" not in asked[0]


@pytest.mark.parametrize(
    ("content", "code", "message"),
    [
        (b'{"errors":[{"code":"RANGE_INVALID","message":"too far"}]}', "UNKNOWN", "too far"),
        (b'{"errors":[{"code":"UPSTREAM_FAILED","message":"no answer"}]}', "UNKNOWN", "no answer"),
        (b'{"errors":[{"code":"ADDRESS_FORBIDDEN","message":"private"}]}', "DENIED", "private"),
        (b'{"errors":[{"code":"BLOB_UNKNOWN","message":"gone"}]}', "BLOB_UNKNOWN", "gone"),
        (b'{"errors":[]}', "UNKNOWN", str(SwellError())),
        (b"<html>" + b"x" * (1 << 20), "UNKNOWN", str(SwellError())),
    ],
)
async def test_an_error_has_a_code_of_the_specification(
    new_relay: NewRelay, content: bytes, code: str, message: str
) -> None:
    """Registry clients know no other codes. Headers such as `Retry-After` are relayed as well."""
    fields = b"Content-Length: %d\r\nContent-Range: bytes */7\r\nRetry-After: 3\r\n\r\n" % len(content)
    async with new_relay(b"HTTP/1.1 416 x\r\n" + fields + content) as url:
        status, headers, body = await ask(url)

    assert (status, headers["Content-Range"], headers["Retry-After"]) == (416, "bytes */7", "3")
    assert headers["Content-Type"] == "application/json"
    assert msgspec.json.decode(body) == {"errors": [{"code": code, "message": message}]}


async def test_an_error_that_answers_head_has_no_body(new_relay: NewRelay) -> None:
    """A response to HEAD has no body, also for errors."""
    async with new_relay(b"HTTP/1.1 404 x\r\nContent-Length: 60\r\n\r\n") as url:
        status, _, body = await ask(url, "HEAD")

    assert (status, body) == (404, b"")


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_answers_without_a_body_end_at_once(new_relay: NewRelay, method: str) -> None:
    """A response to HEAD has a length but no bytes, and 304 has no body."""
    answer = OK % 1000 if method == "HEAD" else b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n'
    async with new_relay(answer) as url:
        status, headers, body = await ask(url, method)

    assert (status, body) == (200 if method == "HEAD" else 304, b"")
    assert headers["ETag"] == '"e"'


async def test_a_data_port_that_breaks_off_breaks_the_answer_off(new_relay: NewRelay) -> None:
    """Short of its length: the client sees an error, and resumes."""
    async with new_relay(OK % len(CONTENT) + CONTENT[: PIECE + 7]) as url:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(url)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (2 * PIECE),
    ],
)
async def test_a_data_port_that_makes_no_sense_is_unavailable(
    new_relay: NewRelay, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """Another process may listen on the port while the data port restarts."""
    monkeypatch.setattr(data_port, "SILENCE_SECONDS", 1)
    async with new_relay(answer) as url:
        status, headers, body = await ask(url)

    assert (status, int(headers["Retry-After"]) > 0, b"data port" in body) == (503, True, True)


async def test_a_data_port_that_falls_silent_is_given_up(new_relay: NewRelay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection and the client's are for others."""
    monkeypatch.setattr(data_port, "SILENCE_SECONDS", 1.5)
    async with new_relay(OK % 9 + b"...") as url:
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(url)


async def test_what_comes_slowly_is_not_held_back() -> None:
    """Big pieces are waited for a moment only: a client that hears nothing for long hangs up."""
    begun, seen = CONTENT[:-10], asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with closing(writer):
            writer.write(OK % len(CONTENT) + begun)
            await seen.wait()
            writer.write(CONTENT[len(begun) :])
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/blobs/x.y"
        async with asyncio.timeout(30), RemoteDataPort().open("GET", url, {}) as part:
            read = b""
            async for piece in part.pieces:
                read += piece
                if len(read) == len(begun):
                    seen.set()

    assert read == CONTENT


async def test_an_unreachable_data_port_is_unavailable(new_relay: NewRelay) -> None:
    """The response has `Retry-After`."""
    relay, where = Relay(RemoteDataPort()), Address("127.0.0.1", Ports.free().gateway)
    closed_port = Ports.free().data

    async def app(scope, receive, send) -> None:  # type: ignore[no-untyped-def]
        if scope["type"] == "http":
            await relay(f"http://127.0.0.1:{closed_port}/blobs/x.y", scope, receive, send)

    async with listening(app, where, grace=1):
        status, headers, body = await ask(f"http://127.0.0.1:{where.port}/")
    assert (status, int(headers["Retry-After"]) > 0, b"data port" in body) == (503, True, True)


async def test_a_file_that_is_named_is_read_here(new_relay: NewRelay, tmp_path: Path) -> None:
    """Its bytes pass one process instead of two."""
    (tmp_path / "file").write_bytes(CONTENT)
    named = b"HTTP/1.1 206 x\r\nContent-Length: 0\r\nX-Sendfile: file\r\nX-Sendfile-Span: 5-999999\r\n\r\n"
    async with new_relay(named, spool=tmp_path) as url:
        status, headers, body = await ask(url)

    assert (status, body) == (206, CONTENT[5:999999])
    assert "sendfile" not in str(headers).lower()


async def test_a_file_that_is_gone_is_asked_for_as_bytes(new_relay: NewRelay, tmp_path: Path) -> None:
    """Its room was needed meanwhile, or the two do not share a disk after all."""
    named = b"HTTP/1.1 200 x\r\nContent-Length: 0\r\nX-Sendfile: file\r\nX-Sendfile-Span: 0-1\r\n\r\n"
    asked: list[bytes] = []
    async with new_relay(named, OK % 1 + b"x", asked=asked, spool=tmp_path) as url:
        assert (await ask(url))[2] == b"x"

    assert [b"x-sendfile" in request.lower() for request in asked] == [True, False]


async def test_a_data_port_behind_tls_must_show_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its certificate is verified, and its bytes arrive unchanged."""
    certificate, key = tmp_path / "certificate", tmp_path / "key"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate))
    await asyncio.to_thread(subprocess.run, ["openssl", *made, *names], check=True, capture_output=True)
    shown = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    shown.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with closing(writer):
            writer.write(OK % len(CONTENT) + CONTENT)
            await writer.drain()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=shown) as server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/blobs/x.y"
        monkeypatch.setattr(log, "_WARNED", {})
        with capture_logs() as logs, pytest.raises(Unavailable, match="^the data port does not answer$"):
            async with RemoteDataPort().open("GET", url, {}):
                pass
        assert "certificate" in logs[0]["error"]
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with RemoteDataPort().open("GET", url, {}) as part:
            assert b"".join([piece async for piece in part.pieces]) == CONTENT
