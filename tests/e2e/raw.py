"""Single HTTP requests with complete responses, and a gateway with an operator's account."""

import base64
import io
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import bcrypt
from msgspec import Struct

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from swell_embedded.stack import Stack
from tests.e2e.client import Swell, client_of
from tests.e2e.environment import of_this_machine
from tests.e2e.secrets_used import secrets_of_answer, secrets_of_request
from tests.e2e.upstreams import running

SUBMIT = "/v1alpha2/container"
LOGIN = {"Authorization": "Basic " + base64.b64encode(b"ops:pw").decode()}


class Answer(Struct):
    """An HTTP response."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(swell: Swell, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    """Send a request and return the response; *body* is sent as JSON unless it is bytes. Redirects are not followed."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    data = None if body is None else io.BytesIO(encoded)
    sent = {"Content-Type": "application/json"} | headers
    secrets_of_request(path, body, headers)
    async with aiohttp.request(method, swell.url + path, data=data, headers=sent, allow_redirects=False) as answer:
        received = Answer(answer.status, answer.headers, await answer.read())
    if received.body[:1] == b"{":
        secrets_of_answer(path, received.json)
    return received


async def submit(swell: Swell, **body: Any) -> Answer:
    return await ask(swell, "POST", SUBMIT, body)


@asynccontextmanager
async def operated_beside(stack: Stack, home: Path) -> AsyncIterator[Swell]:
    """Start another gateway of *stack*, with the account of `LOGIN` and a commit, and yield its client."""
    (home / "accounts").write_bytes(b"ops:" + bcrypt.hashpw(b"pw", bcrypt.gensalt(4)) + b"\n")
    port = Ports.free().gateway
    url = f"http://localhost:{port}"
    settings = {
        "SWELL_LISTEN": f"127.0.0.1:{port}",
        "SWELL_SERVER_URL": url,
        "SWELL_ACCOUNTS_FILE": str(home / "accounts"),
        "SWELL_COMMIT": "0f1e2d3",
    }
    gateway = Program(
        name="operated",
        command=(sys.executable, "-m", "gateway"),
        environment=of_this_machine() | stack.env | settings,
        ready=probes.http(f"{url}/health"),
    )
    async with running(gateway, home), client_of(url) as client:
        yield client
