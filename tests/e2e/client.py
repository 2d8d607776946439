"""Swell as its clients see it: JSON over HTTP, and nothing else."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp

from swell.oci.digest import digest_of
from swell.testing.images import Layer

PLAIN, PULLER, PUSHER = (f"swell_{name}-of-these-tests" for name in ("plain", "puller", "pusher"))
"""API keys: without scopes, with that to pull, with that to push."""

_ENTRY = '[[key]]\nhash = "{}"\nuser = "{}"\nscopes = {}\n'
KEYS_FILE = "".join(
    _ENTRY.format(hashlib.sha256(key.encode()).hexdigest(), key.split("-")[0], json.dumps(scopes))
    for key, scopes in {PLAIN: [], PULLER: ["operator-pull"], PUSHER: ["operator-push"]}.items()
)

T = TypeVar("T")
Fields = dict[str, Any]


class Swell:
    """A client of the server at *url*."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def post(self, path: str = "/v1alpha2/container", /, **request: object) -> tuple[int, Fields]:
        """The status and the body that answer a container request.

        One that names a repository of its own brings a key: this server pushes there for nobody else.
        """
        if request.get("buildRepository"):
            request = {"towerAccessToken": PUSHER} | request
        async with self._session.post(f"{self.url}{path}", json=request) as response:
            return response.status, await response.json()

    async def submit(self, **request: object) -> Fields:
        """The answer to a container request that must succeed."""
        status, answer = await self.post(**request)
        assert status == 200, answer
        return answer

    async def build(self, containerfile: str, **request: object) -> Fields:
        """The answer to the request to build *containerfile*."""
        return await self.submit(containerFile=encoded(containerfile), **request)

    async def delete(self, path: str, login: str = "") -> tuple[int, str]:
        """The status that answers *login*, an `Authorization` header, and the login that is wanted instead."""
        headers = {"Authorization": login} if login else {}
        async with self._session.delete(f"{self.url}{path}", headers=headers) as response:
            return response.status, response.headers.get("WWW-Authenticate", "")

    async def get(self, path: str) -> tuple[int, Fields]:
        async with self._session.get(f"{self.url}{path}") as response:
            return response.status, await response.json(content_type=None)

    async def read(self, path: str) -> tuple[int, bytes]:
        """The status and the body under *path*, behind redirects."""
        async with self._session.get(f"{self.url}{path}") as response:
            return response.status, await response.read()

    async def bytes(self, path: str) -> bytes:
        """The body under *path*, which must be there."""
        status, body = await self.read(path)
        assert status == 200, body
        return body

    async def log(self, build_id: str) -> str:
        return (await self.bytes(log_path(build_id))).decode()

    async def build_status(self, build_id: str) -> Fields:
        return (await self.get(f"/v1alpha1/builds/{build_id}/status"))[1]

    async def ended(self, build_id: str) -> Fields:
        """The status of a build when it has ended, at most two minutes from now."""

        async def look() -> Fields | None:
            status = await self.build_status(build_id)
            return status if status["status"] == "COMPLETED" else None

        return await until(look, seconds=120)


def encoded(text: str) -> str:
    """*text* as requests carry it."""
    return base64.b64encode(text.encode()).decode()


def log_path(build_id: str) -> str:
    return f"/v1alpha1/builds/{build_id}/logs"


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Swell]:
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)  # a hundred at once are meant to be at once
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
        yield Swell(url, session)


async def until(look: Callable[[], Awaitable[T | None]], *, seconds: float = 60) -> T:
    """What *look* gives as soon as it gives something; it is asked every 50 ms, at most *seconds* long."""
    try:
        async with asyncio.timeout(seconds):
            while not (found := await look()):  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.05)
            return found
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {look.__qualname__}") from None


def as_data(layer: Layer) -> Fields:
    """*layer* as a request carries it along."""
    return as_link(layer, "data:" + base64.b64encode(layer.gzipped).decode())


def as_link(layer: Layer, location: str) -> Fields:
    """*layer* as a request says where it is."""
    return {
        "location": location,
        "gzipDigest": digest_of(layer.gzipped),
        "gzipSize": len(layer.gzipped),
        "tarDigest": digest_of(layer.tar),
    }
