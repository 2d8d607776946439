"""The client with a server that fails: it repeats requests as the server asks, and resumes logs at the same line."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web

from swell.api.containers import ContainerRequest
from swell_client import AsyncClient, Client, RequestFailed, RetryPolicy, UnexpectedAnswer, Unreachable
from swell_client.events import Ended, LogLine

FAST = RetryPolicy(attempts=4, first_wait=timedelta(milliseconds=1), longest_wait=timedelta(seconds=5))
ANSWER = {"requestId": "r", "targetImage": "x/wt/r/a:1", "containerImage": "a:1", "buildId": "bd-1_1"}
END = {"id": "bd-1_1", "succeeded": True, "exitStatus": 0, "duration": 1.0}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A server on a free port that answers every request with *handler*; yields its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


class Script:
    """Answers each request with the next of *answers*, and the last one again; `seen` has the requests."""

    def __init__(self, *answers: web.Response | Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[str, bytes, dict[str, str], float]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        self.seen.append((request.path, await request.read(), dict(request.headers), now))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, web.Response):
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        return await answer(request)


def refused(status: int, retry_after: str | None = None) -> web.Response:
    headers = {"Retry-After": retry_after} if retry_after else None
    return web.json_response({"message": f"no {status}"}, status=status, headers=headers)


async def broken(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_a_request_is_repeated_when_the_server_says(tmp_path: object) -> None:
    """`Retry-After` counts, the body is the same, and a broken connection is repeated as well."""
    script = Script(refused(429, "1"), broken, refused(503), web.json_response(ANSWER))
    async with serving(script) as url, AsyncClient(url, token="key", retry=FAST) as swell:
        container = await swell.submit(ContainerRequest(container_image="a:1"))

    assert container.target_image == "x/wt/r/a:1"
    assert len({body for _, body, _, _ in script.seen}) == 1
    assert len(script.seen) == 4
    assert script.seen[1][3] - script.seen[0][3] >= 1.0
    assert script.seen[0][2]["Authorization"] == "Bearer key"


async def test_an_error_that_stays_is_raised_with_its_answer() -> None:
    """The last answer counts; 400 is not repeated."""
    for status, requests in ((503, 4), (400, 1)):
        script = Script(refused(status))
        async with serving(script) as url, AsyncClient(url, token="", retry=FAST) as swell:
            with pytest.raises(RequestFailed, match=f"no {status}") as caught:
                await swell.service_info()
        assert (caught.value.status, len(script.seen)) == (status, requests)


async def test_another_server_is_reported() -> None:
    """A page of a proxy, a redirect, and nothing at all."""
    async with serving(Script(web.Response(body=b"<html>"))) as url, AsyncClient(url, token="", retry=FAST) as swell:
        with pytest.raises(UnexpectedAnswer):
            await swell.service_info()
    moved = web.Response(status=301, headers={"Location": "https://elsewhere.test/"})
    async with serving(Script(moved)) as url, AsyncClient(url, token="", retry=FAST) as swell:
        with pytest.raises(RequestFailed) as caught:
            await swell.service_info()
    assert "elsewhere.test" in caught.value.details.next
    async with AsyncClient(url, token="", retry=FAST) as swell:
        with pytest.raises(Unreachable, match=url):
            await swell.service_info()


async def test_sent_bytes_are_reported() -> None:
    """The progress of a large context: the last report is all of it."""
    sent = list[tuple[int, int]]()
    script = Script(refused(503), web.json_response(ANSWER))
    async with serving(script) as url, AsyncClient(url, token="", retry=FAST) as swell:
        await swell.submit(
            ContainerRequest(container_image="a" * 200_000), sent=lambda done, total: sent.append((done, total))
        )

    assert sent[-1][0] == sent[-1][1] == len(script.seen[-1][1])
    assert len(sent) > 4


def log(lines: range, *, end: bool) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A stream of *lines*; without *end*, the connection breaks in the middle of the next event."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"retry: 3120\n\n")
        await response.write("".join(f"id: 1-{n}\ndata: line {n}\n\n" for n in lines).encode())
        if end:
            await response.write(f"id: 1-end\nevent: end\ndata: {json.dumps(END)}\n\n".encode())
            return response
        await response.write(b"id: 1-99\ndata: ha")
        return await broken(request)

    return answer


def events_script() -> Script:
    return Script(log(range(1, 4), end=False), refused(503), log(range(4, 6), end=False), log(range(6, 7), end=True))


async def test_a_log_is_resumed_at_the_same_line() -> None:
    """The connection breaks twice, and the server is busy once: no line is missing or repeated."""
    script = events_script()
    async with serving(script) as url, AsyncClient(url, token="") as swell:
        events = [event async for event in swell.log_events("bd-1_1")]

    assert [event.text for event in events if isinstance(event, LogLine)] == [f"line {n}" for n in range(1, 7)]
    assert isinstance(events[-1], Ended)
    assert [headers.get("Last-Event-ID") for _, _, headers, _ in script.seen] == [None, "1-3", "1-3", "1-5"]


async def test_the_sync_client_resumes_as_well() -> None:
    """It is made from the same source, and has other transports."""
    script = events_script()

    def read(url: str) -> list[str]:
        with Client(url, token="") as swell:
            return [event.text for event in swell.log_events("bd-1_1") if isinstance(event, LogLine)]

    async with serving(script) as url:
        lines = await asyncio.to_thread(read, url)

    assert lines == [f"line {n}" for n in range(1, 7)]


async def test_an_unknown_build_is_an_error_at_once() -> None:
    """Only what can pass is repeated."""
    script = Script(refused(404))
    async with serving(script) as url, AsyncClient(url, token="") as swell:
        with pytest.raises(RequestFailed) as caught:
            await anext(aiter(swell.log_events("bd-x_1")))

    assert (caught.value.status, len(script.seen)) == (404, 1)


async def test_ids_are_one_part_of_the_path() -> None:
    """A text of another person must not become another request."""
    seen = list[Any]()

    async def answer(request: web.Request) -> web.StreamResponse:
        seen.append(request.raw_path)
        return refused(404)

    async with serving(answer) as url, AsyncClient(url, token="") as swell:
        with pytest.raises(RequestFailed):
            await swell.build_status("../../x?a=b")

    assert seen == ["/v1alpha1/builds/..%2F..%2Fx%3Fa%3Db/status"]
