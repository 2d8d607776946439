"""What tests send to a server: raw requests of any form, and the rest with `swell_client`."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from swell.api.containers import ContainerRequest
from swell.oci.digest import digest_of
from swell.testing.images import Layer
from swell_client import AsyncClient
from tests.e2e.secrets_used import secret, secrets_of_request

PLAIN, PULLER, PUSHER, HOLDER = (
    secret(f"key {name}", f"swell_{name}-of-these-tests") for name in ("plain", "puller", "pusher", "holder")
)
"""API keys: without scopes, with the scope to pull, with the scope to push, and for the build secret `token`."""
SECRET = secret("build secret", "s3cret-of-the-operator")
"""The content of that secret."""

_ENTRY = '[[key]]\nhash = "{}"\nuser = "{}"\nscopes = {}\n'
KEYS_FILE = "".join(
    _ENTRY.format(hashlib.sha256(key.encode()).hexdigest(), key.split("-")[0], json.dumps(scopes))
    for key, scopes in {PLAIN: [], PULLER: ["operator-pull"], PUSHER: ["operator-push"]}.items()
) + (f'[[key]]\nhash = "{hashlib.sha256(HOLDER.encode()).hexdigest()}"\nuser = "holder"\nsecrets = ["token"]\n')

T = TypeVar("T")
Fields = dict[str, Any]


class Swell:
    """The server at *url*: *session* sends requests that no client would send, *client* is that of users."""

    def __init__(self, url: str, session: aiohttp.ClientSession, client: AsyncClient) -> None:
        self.url = url
        self.client = client
        self._session = session

    async def post(self, path: str = "/v1alpha2/container", /, **request: object) -> tuple[int, Fields]:
        """Send a container request and return the status and the body of the response."""
        body = _with_key(request)
        secrets_of_request(path, body, {})
        async with self._session.post(f"{self.url}{path}", json=body) as response:
            return response.status, await response.json()

    async def submit(self, **request: object) -> Fields:
        """Send a container request that must succeed with the client of users, and return its response."""
        sent = msgspec.convert(_with_key(request), ContainerRequest)
        answer: Fields = msgspec.to_builtins((await self.client.submit(sent)).answer)
        return answer

    async def build(self, containerfile: str, **request: object) -> Fields:
        """Request a build of *containerfile* and return the response."""
        return await self.submit(containerFile=encoded(containerfile), **request)

    async def delete(self, path: str, login: str = "") -> tuple[int, str]:
        """Send DELETE with the `Authorization` header *login*; return the status and the `WWW-Authenticate` header."""
        headers = {"Authorization": login} if login else {}
        async with self._session.delete(f"{self.url}{path}", headers=headers) as response:
            return response.status, response.headers.get("WWW-Authenticate", "")

    async def get(self, path: str) -> tuple[int, Fields]:
        async with self._session.get(f"{self.url}{path}") as response:
            return response.status, await response.json(content_type=None)

    async def read(self, path: str, key: str = "") -> tuple[int, bytes]:
        """Follow redirects from *path*, with an API *key*, and return the status and the body."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with self._session.get(f"{self.url}{path}", headers=headers) as response:
            return response.status, await response.read()

    async def bytes(self, path: str, key: str = "") -> bytes:
        """Return the body at *path*; the status must be 200."""
        status, body = await self.read(path, key)
        assert status == 200, body
        return body

    async def log(self, build_id: str) -> str:
        return await self.client.log(build_id)

    async def build_status(self, build_id: str) -> Fields:
        """The status with the names of the API."""
        status: Fields = msgspec.to_builtins(await self.client.build_status(build_id))
        return status

    async def ended(self, build_id: str) -> Fields:
        """Wait for the end of a build, at most two minutes, and return its status."""

        async def look() -> Fields | None:
            status = await self.build_status(build_id)
            return status if status["status"] == "COMPLETED" else None

        return await until(look, seconds=120)


def _with_key(request: Fields) -> Fields:
    """Return *request* with an API key if it has a repository of its own, because pushing needs a scope."""
    return {"towerAccessToken": PUSHER} | request if request.get("buildRepository") else request


def encoded(text: str) -> str:
    """Return *text* in base64, as requests contain it."""
    return base64.b64encode(text.encode()).decode()


def log_path(build_id: str) -> str:
    return f"/v1alpha1/builds/{build_id}/logs"


@asynccontextmanager
async def client_of(url: str) -> AsyncIterator[Swell]:
    timeout = aiohttp.ClientTimeout(total=120)
    connector = aiohttp.TCPConnector(limit=0)  # no limit: a hundred requests run at the same time
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=connector) as session,
        AsyncClient(url, token="") as client,
    ):
        yield Swell(url, session, client)


async def until(look: Callable[[], Awaitable[T | None]], *, seconds: float = 60) -> T:
    """Call *look* every 50 ms until it returns a true value, at most *seconds* long, and return that value."""
    try:
        async with asyncio.timeout(seconds):
            while not (result := await look()):  # noqa: ASYNC110 - what is waited for is in another process
                await asyncio.sleep(0.05)
            return result
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {look}") from None


def as_data(layer: Layer) -> Fields:
    """Return *layer* as a member of a request, with its content."""
    return as_link(layer, "data:" + base64.b64encode(layer.gzipped).decode())


def as_link(layer: Layer, location: str) -> Fields:
    """Return *layer* as a member of a request, with its *location*."""
    return {
        "location": location,
        "gzipDigest": digest_of(layer.gzipped),
        "gzipSize": len(layer.gzipped),
        "tarDigest": digest_of(layer.tar),
    }
