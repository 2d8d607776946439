"""A registry with one repository for each way in which registries misbehave, byte by byte.

The rows come from public reports about Docker, containerd and go-containerregistry. The right answer of each is what
these do with such a registry: where one of them can pull, so must we; otherwise the error is one of ours, in time.
"""

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from enum import Enum

from msgspec import Struct, field
from yarl import URL

from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.testing.images import SampleImage, make_image

IMAGE = make_image("odd")
USER, PASSWORD, TOKEN = "reader", "secret password", "a-good-token"
BASIC = "Basic cmVhZGVyOnNlY3JldCBwYXNzd29yZA=="


class Then(Enum):
    """What happens to the connection after an answer."""

    KEEP = "keep"
    CLOSE = "close"
    STALL = "stall"


class Answer(Struct, frozen=True):
    """The bytes of an answer as they go over the wire, in *pieces* with a *pause* before each."""

    content: bytes
    then: Then = Then.KEEP
    pieces: int = 1
    pause: float = 0.0


class Request(Struct, frozen=True):
    """A request for a part of a row's repository; `number` counts those of the same method and kind from 1.

    `here` and `elsewhere` are the addresses of the registry and of a server of another origin.
    """

    method: str
    kind: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    number: int
    row: "Row"
    here: URL
    elsewhere: URL

    @property
    def stored(self) -> bytes:
        """The right content of what is asked for."""
        return self.row.content(self.kind)


Reply = Callable[[Request], Answer]


class Row(Struct, frozen=True, kw_only=True):
    """A repository and how it misbehaves: `replies` by method and kind, `GET manifest`, in place of the usual ones.

    `right` is the name of the error that a pull of it must end with, empty when it must succeed. With a `challenge`,
    requests need `accepted` in their `Authorization`; `{here}` in it is the registry's address. Those of a `private`
    repository come with credentials. `is_slow` rows never answer: they want short timeouts.
    """

    name: str
    right: str = ""
    replies: Mapping[str, Reply] = field(default_factory=dict)
    challenge: tuple[str, ...] = ()
    accepted: str = f"Bearer {TOKEN}"
    private: bool = False
    manifest: Document = IMAGE.manifest
    reference: str = "1"
    retry_after: int | None = None
    is_slow: bool = False

    @property
    def repository(self) -> str:
        return f"{'private' if self.private else 'odd'}/{self.name}"

    @property
    def image(self) -> SampleImage:
        return IMAGE

    def content(self, kind: str) -> bytes:
        return {
            "manifest": self.manifest.content,
            "config": IMAGE.config.content,
            "layer": IMAGE.layers[0].gzipped,
        }.get(kind, b"")


def wire(status: str, *lines: str, body: bytes = b"", version: str = "1.1") -> bytes:
    """An answer of exactly these header *lines*."""
    return "\r\n".join((f"HTTP/{version} {status}", *lines, "", "")).encode("latin-1") + body


def says(status: str, *lines: str, body: bytes = b"", then: Then = Then.KEEP) -> Reply:
    """Answers with *status* and the length of *body*; `{here}` and `{elsewhere}` in *lines* are addresses."""

    def reply(request: Request) -> Answer:
        filled = [_filled(line, request) for line in lines]
        shown = b"" if request.method == "HEAD" else body
        return Answer(wire(status, *filled, f"Content-Length: {len(body)}", body=shown), then)

    return reply


def serves(
    *lines: str,
    status: str = "200 OK",
    media_type: str | None = "",
    body: bytes | None = None,
    digest: str | None = "",
    length: str | None = "",
    version: str = "1.1",
    then: Then = Then.KEEP,
    pieces: int = 1,
    pause: float = 0.0,
) -> Reply:
    """Answers with the right content but for what is given; None leaves a header out, "" makes it right."""

    def reply(request: Request) -> Answer:
        content = request.stored if body is None else body
        its_type = request.row.manifest.media_type if request.kind == "manifest" else "application/octet-stream"
        named = f"sha256:{hashlib.sha256(content).hexdigest()}"
        headers = {
            "Content-Type": its_type if media_type == "" else media_type,
            "Docker-Content-Digest": named if digest == "" else digest,
            "Content-Length": str(len(content)) if length == "" else length,
        }
        head = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        shown = b"" if request.method == "HEAD" else content
        return Answer(wire(status, *head, *lines, body=shown, version=version), then, pieces, pause)

    return reply


def chunked(*, extension: str = "", trailer: str = "", cut: bool = False) -> Reply:
    """Answers with the right content in chunks."""

    def reply(request: Request) -> Answer:
        content, size = request.stored, 100
        chunks = [content[start : start + size] for start in range(0, len(content), size)]
        body = b"".join(b"%x%s\r\n%s\r\n" % (len(chunk), extension.encode(), chunk) for chunk in chunks)
        end = b"" if cut else b"0\r\n%s\r\n" % trailer.encode()
        head = wire("200 OK", f"Content-Type: {request.row.manifest.media_type}", "Transfer-Encoding: chunked")
        return Answer(head + body + end, Then.CLOSE if cut else Then.KEEP)

    return reply


def first(*replies: Reply) -> Reply:
    """Each of *replies* in turn, the last one for ever."""
    return lambda request: replies[min(request.number, len(replies)) - 1](request)


def cut(part: float = 0.5, then: Then = Then.CLOSE) -> Reply:
    """Declares the right length and sends a *part* of the content."""

    def reply(request: Request) -> Answer:
        content = request.stored
        length = f"Content-Length: {len(content)}"
        head = wire("200 OK", f"Content-Type: {request.row.manifest.media_type}", length)
        return Answer(head + content[: int(len(content) * part)], then)

    return reply


def raw(content: bytes, then: Then = Then.CLOSE) -> Reply:
    return lambda _: Answer(content, then)


def gives(token: str) -> Reply:
    """A token service's answer, JSON."""
    return says("200 OK", "Content-Type: application/json", body=token.encode())


def _filled(line: str, request: Request) -> str:
    here, elsewhere = str(request.here).rstrip("/"), str(request.elsewhere).rstrip("/")
    own = f"/stored/{request.row.name}/{request.kind}"
    for name, value in {
        "{here}": here,
        "{elsewhere}": elsewhere,
        "{authority}": request.here.authority,
        "{stored}": own,
        "{number}": str(request.number),
    }.items():
        line = line.replace(name, value)
    return line


class OddRegistry:
    """Serves *rows*; `seen` are the server's name, the method, the path and the `Authorization` of every request."""

    def __init__(self, rows: tuple[Row, ...]) -> None:
        self.here = self.elsewhere = URL()
        self.seen: list[tuple[str, str, str, str | None]] = []
        self._rows = {row.name: row for row in rows}
        self._numbers: Counter[tuple[str, str, str]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def authority(self) -> str:
        return self.here.authority

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["OddRegistry"]:
        """Listen on two free ports of loopback."""
        servers = []
        for name in ("here", "elsewhere"):
            server = await asyncio.start_server(self._serve(name), "127.0.0.1", 0)
            setattr(self, name, URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"))
            servers.append(server)
        try:
            yield self
        finally:
            for server in servers:
                server.close()
            for task in self._tasks.copy():
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _serve(self, name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], "asyncio.Future[None]"]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task  # noqa: S101
            self._tasks.add(task)
            try:
                while await self._once(name, reader, writer):
                    pass
            except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                pass  # the client has closed the connection
            finally:
                self._tasks.discard(task)
                writer.close()

        return serve  # type: ignore[return-value]

    async def _once(self, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.split("\r\n")
        method, target, _ = line.split(" ")
        headers = {key.lower(): value.strip() for key, _, value in (each.partition(":") for each in lines if each)}
        if length := int(headers.get("content-length", 0)):
            await reader.readexactly(length)
        url = URL(target, encoded=True)
        self.seen.append((name, method, url.path, headers.get("authorization")))
        answer = self._answer(method, url, headers)
        size = -(-len(answer.content) // answer.pieces) or 1
        for start in range(0, len(answer.content), size):
            if answer.pause:
                await asyncio.sleep(answer.pause)
            writer.write(answer.content[start : start + size])
            await writer.drain()
        if answer.then is Then.STALL:
            await asyncio.sleep(60)
        return answer.then is Then.KEEP

    def _answer(self, method: str, url: URL, headers: Mapping[str, str]) -> Answer:
        parts = url.path.strip("/").split("/")
        match parts:
            case ["v2", _, name, "manifests", _]:
                kind = "manifest"
            case ["v2", _, name, "blobs", digest]:
                kind = "config" if digest == IMAGE.config.digest else "layer"
            case ["stored", name, kind, *_]:
                pass
            case ["token", name, *_]:
                kind = "token"
            case _:
                return Answer(wire("404 Not Found", "Content-Length: 0"))
        if (row := self._rows.get(name)) is None:
            return Answer(wire("404 Not Found", "Content-Length: 0"))
        is_stored = parts[0] == "stored"
        label = f"{method} {'stored ' if is_stored else ''}{kind}"
        self._numbers[name, method, label] += 1
        number = self._numbers[name, method, label]
        request = Request(method, kind, url.path, dict(url.query), headers, number, row, self.here, self.elsewhere)
        if kind == "token":
            return row.replies.get(label, _token)(request)
        if row.challenge and not is_stored and headers.get("authorization") != row.accepted:
            lines = [f"WWW-Authenticate: {_filled(line, request)}" for line in row.challenge]
            return says("401 Unauthorized", *lines, body=b"who are you?")(request)
        return row.replies.get(label, serves())(request)


def _token(request: Request) -> Answer:
    """A token for the right scope; of private repositories, only for the right password."""
    scope, wanted = request.query.get("scope"), f"repository:{request.row.repository}:pull"
    if scope != wanted or (request.row.private and request.headers.get("authorization") != BASIC):
        return says("401 Unauthorized")(request)
    return gives(f'{{"token": "{TOKEN}", "expires_in": 300}}')(request)


def digest_with(algorithm: str, content: bytes) -> Digest:
    return Digest(f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}")
