"""Faults of upstream servers, byte by byte: what the server does, and the error that must result."""

import asyncio
import itertools
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

from msgspec import Struct

from swell.errors import (
    Denied,
    ManifestInvalid,
    ManifestUnknown,
    SwellError,
    TooManyRequests,
    UpstreamBroken,
    UpstreamFailed,
    UpstreamSlow,
)
from swell.net.outbound import DIRECT, Reach
from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_INDEX, OCI_MANIFEST
from tests.integration.registry_proxy.support import make_image

IMAGE = make_image()
DIGEST = digest_of(IMAGE.manifest)
HURRY = Reach(
    connect_timeout=timedelta(seconds=0.3), answer_timeout=timedelta(seconds=0.6), idle_timeout=timedelta(seconds=0.3)
)
"""For those who will never answer; all others get the time that a loaded machine may need."""

SECRET = b"secret of upstream"

Say = Callable[[asyncio.StreamWriter], Awaitable[None]]


class Fault(Struct, frozen=True):
    """What an upstream does with a request whose headers it has read, and the error that its client receives."""

    name: str
    does: Say
    error: type[SwellError]
    retry_after: int | None = None

    @property
    def reach(self) -> Reach:
        """How long to wait for it."""
        return HURRY if self.error is UpstreamSlow else DIRECT


def head(status: str = "200 OK", *lines: str, version: str = "1.1") -> bytes:
    return "\r\n".join((f"HTTP/{version} {status}", *lines, "", "")).encode()


def typed(*lines: str, media_type: str = OCI_MANIFEST) -> bytes:
    return head("200 OK", f"Content-Type: {media_type}", *lines)


def whole(body: bytes, *lines: str, media_type: str = OCI_MANIFEST) -> bytes:
    return typed(f"Content-Length: {len(body)}", *lines, media_type=media_type) + body


def status(line: str, *lines: str) -> bytes:
    return head(line, f"Content-Length: {len(SECRET)}", *lines) + SECRET


def says(content: bytes) -> Say:
    """Sends *content* and closes the connection."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()

    return say


def resets(content: bytes = b"") -> Say:
    """Sends *content* and cuts the connection as a crashed host does."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        await asyncio.sleep(0.05)  # for what was sent to be read: a reset takes with it what was not
        found: socket.socket = writer.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return say


def stalls(content: bytes = b"") -> Say:
    """Sends *content*, then nothing more for as long as the connection lasts."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        await writer.drain()
        await asyncio.sleep(60)

    return say


def repeats(first: bytes, again: bytes, seconds: float = 0) -> Say:
    """Sends *first*, then *again* for ever, with *seconds* between them."""

    async def say(writer: asyncio.StreamWriter) -> None:
        writer.write(first)
        for _ in itertools.repeat(None, 1_000_000):
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(seconds)

    return say


MANIFEST = IMAGE.manifest
HALF = MANIFEST[: len(MANIFEST) // 2]
CHUNK = b"10000\r\n" + b" " * 0x10000 + b"\r\n"

FAULTS = [
    Fault("closed before headers", says(b""), UpstreamBroken),
    Fault("reset before headers", resets(), UpstreamBroken),
    Fault("closed within headers", says(b"HTTP/1.1 200 OK\r\nContent-Le"), UpstreamBroken),
    Fault("reset within headers", resets(b"HTTP/1.1 200 OK\r\nContent-Le"), UpstreamBroken),
    Fault("silent", stalls(), UpstreamSlow),
    Fault("silent within headers", stalls(b"HTTP/1.1 200 OK\r\nContent-Le"), UpstreamSlow),
    Fault("dripping headers", repeats(b"HTTP/1.1 200 OK\r\nX: ", b"x", 0.1), UpstreamSlow),
    Fault("no HTTP", says(b"SSH-2.0-OpenSSH_9.2\r\n"), UpstreamBroken),
    Fault("no status", says(b"HTTP/1.1 yes OK\r\n\r\n"), UpstreamBroken),
    Fault("another protocol's version", says(head(version="9.9")), UpstreamBroken),
    Fault("a header without a colon", says(head("200 OK", "nonsense")), UpstreamBroken),
    Fault("a header with a control character", says(head("200 OK", "X: a\0b")), UpstreamBroken),
    Fault("a giant header", says(head("200 OK", f"X: {'x' * (1 << 20)}")), UpstreamBroken),
    Fault("endless headers", repeats(b"HTTP/1.1 200 OK\r\n", b"X: x\r\n" * 100), UpstreamBroken),
    Fault("a giant status line", says(head("200 " + "x" * (1 << 20))), UpstreamBroken),
    Fault("endless informational answers", repeats(b"", head("103 Early Hints") * 100, 0.001), UpstreamSlow),
    Fault("a negative length", says(typed("Content-Length: -1") + MANIFEST), UpstreamBroken),
    Fault("two lengths", says(typed("Content-Length: 1", "Content-Length: 999") + MANIFEST), UpstreamBroken),
    Fault("a length and chunks", says(typed("Content-Length: 5", "Transfer-Encoding: chunked")), UpstreamBroken),
    Fault("no chunk size", says(typed("Transfer-Encoding: chunked") + b"xyz\r\n"), UpstreamBroken),
    Fault("closed within chunks", says(typed("Transfer-Encoding: chunked") + b"5\r\nhel"), UpstreamBroken),
    Fault("closed within the body", says(typed(f"Content-Length: {len(MANIFEST)}") + HALF), UpstreamBroken),
    Fault("reset within the body", resets(typed(f"Content-Length: {len(MANIFEST)}") + HALF), UpstreamBroken),
    Fault("stalled within the body", stalls(typed(f"Content-Length: {len(MANIFEST)}") + HALF), UpstreamSlow),
    Fault("dripping body", repeats(typed("Content-Length: 99999"), b" ", 0.1), UpstreamSlow),
    Fault("an endless body", repeats(typed("Transfer-Encoding: chunked"), CHUNK), UpstreamFailed),
    Fault("an endless body until the end", repeats(typed(), CHUNK), UpstreamFailed),
    Fault("a body of 5 GB", says(typed("Content-Length: 5000000000")), UpstreamFailed),
    Fault("a length that is too small", says(typed("Content-Length: 20") + MANIFEST), UpstreamBroken),
    Fault("half a body until the end", says(typed() + HALF), ManifestInvalid),
    Fault("half a body with its digest", says(typed(f"Docker-Content-Digest: {DIGEST}") + HALF), UpstreamFailed),
    Fault("an empty body", says(whole(b"")), ManifestInvalid),
    Fault("no content", says(head("204 No Content")), UpstreamFailed),
    Fault("not modified", says(head("304 Not Modified")), UpstreamFailed),
    Fault("a part", says(head("206 Partial Content", "Content-Length: 4") + b"{}{}"), UpstreamFailed),
    Fault("switching protocols", says(head("101 Switching", "Upgrade: x", "Connection: upgrade")), UpstreamFailed),
    Fault("HTML", says(whole(b"<html>" + SECRET, media_type="text/html")), ManifestInvalid),
    Fault("HTML that claims to be a manifest", says(whole(b"<html>" + SECRET)), ManifestInvalid),
    Fault("JSON that is no object", says(whole(b"[]")), ManifestInvalid),
    Fault("JSON in UTF-16", says(whole(MANIFEST.decode().encode("utf-16"))), ManifestInvalid),
    Fault("JSON nested too deeply", says(whole(b'{"a":' * 100_000)), ManifestInvalid),
    Fault("another type than it says inside", says(whole(MANIFEST, media_type=OCI_INDEX)), ManifestInvalid),
    Fault("a wrong digest", says(whole(MANIFEST, f"Docker-Content-Digest: {digest_of(b'x')}")), UpstreamFailed),
    Fault("deflate", says(whole(zlib.compress(MANIFEST), "Content-Encoding: deflate")), UpstreamFailed),
    Fault("a redirect to itself", says(head("302 Found", "Location: ?", "Content-Length: 0")), UpstreamFailed),
    Fault("a redirect to nowhere", says(head("302 Found", "Content-Length: 0")), UpstreamFailed),
    Fault("a redirect to a file", says(head("302 Found", "Location: file:///etc/passwd")), UpstreamFailed),
    Fault("a refusal", says(status("401 Unauthorized", 'WWW-Authenticate: Basic realm="secret"')), Denied),
    Fault("an unreadable challenge", says(status("401 Unauthorized", 'WWW-Authenticate: ,="",,Bearer realm')), Denied),
    Fault("a prohibition", says(status("403 Forbidden")), Denied),
    Fault("an absence", says(status("404 Not Found")), ManifestUnknown),
    Fault("too many requests", says(status("429 Too Many", "Retry-After: 7")), TooManyRequests, 7),
    Fault("too many requests, no word when", says(status("429 Too Many")), TooManyRequests, 60),
    Fault("an error", says(status("500 Internal Server Error")), UpstreamFailed),
    Fault("maintenance", says(status("503 Unavailable", "Retry-After: 120")), UpstreamFailed, 120),
    Fault("a bad gateway", says(status("502 Bad Gateway")), UpstreamFailed),
    Fault("a teapot", says(status("418 I'm a teapot", "Retry-After: 9")), UpstreamFailed),
    Fault("an unknown status", says(status("799 What")), UpstreamFailed),
]  # fmt: skip


@asynccontextmanager
async def raw(say: Say) -> AsyncIterator[str]:
    """A server on loopback that reads requests' headers and does *say*; gives its authority."""
    open_: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        open_.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            await say(writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has closed the connection
        finally:
            open_.discard(task)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in open_.copy():
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)


@asynccontextmanager
async def deaf() -> AsyncIterator[str]:
    """A port where connections are neither taken nor refused: its queue is full."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filling in (first, second):
            filling.setblocking(False)
            filling.connect_ex(listener.getsockname())
        yield f"127.0.0.1:{listener.getsockname()[1]}"
