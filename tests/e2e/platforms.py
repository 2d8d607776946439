"""The Platform stand-in as a process, and its control from the tests."""

import base64
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.program import Program
from tests.e2e.client import until
from tests.e2e.environment import of_this_machine
from tests.e2e.secrets_used import secret
from tests.e2e.upstreams import Upstreams, running

PAIRING_SECRET = secret("pairing secret", "pairing-s3cret-of-the-platform")
ALICE, BOB = (secret(f"token {name}", name) for name in ("token-of-alice-1", "token-of-bob-1"))
WORKSPACE, OTHERS = 4_000_000_001, 4_000_000_002
"""Workspaces beyond 32 bits: of Alice, and of Bob."""


class StandIn:
    """Controls the stand-in whose API is at *endpoint*."""

    def __init__(self, endpoint: str, session: aiohttp.ClientSession) -> None:
        self.endpoint = endpoint
        self._control = endpoint.removesuffix("/api") + "/control"
        self._session = session
        self.base = 0
        """The id of the first user that a test has added."""

    async def knows(self, **members: Any) -> None:
        """Replace members of what it knows."""
        async with self._session.post(self._control, json=members) as response:
            assert response.status == 200, await response.text()

    async def pair(self, *gateways: str, secret: str = PAIRING_SECRET, packets: str = "", endpoint: str = "") -> None:
        """Keep a socket to each of *gateways* open; return when all are paired again."""
        before = (await self.state())["opened"]
        order = {"gateways": gateways, "secret": secret, "packets": packets, "endpoint": endpoint or self.endpoint}
        async with self._session.post(f"{self._control}/pair", json=order) as response:
            assert response.status == 200

        async def paired() -> bool:
            opened = (await self.state())["opened"]
            return all(opened.get(each, 0) > before.get(each, 0) for each in gateways)

        await until(paired)

    async def state(self) -> dict[str, Any]:
        async with self._session.get(f"{self._control}/seen") as response:
            return dict(await response.json())

    async def requests(self) -> list[dict[str, str]]:
        """The requests that it got: `way`, `method`, `url` and `token`."""
        return list((await self.state())["seen"])


@asynccontextmanager
async def open_platform(home: Path) -> AsyncIterator[StandIn]:
    """Start the stand-in with the users Alice and Bob, each in a workspace of their own."""
    home.mkdir(exist_ok=True)
    port = Ports.free().registry
    program = Program(
        name="platform",
        command=(sys.executable, "-m", "tests.platform", str(port)),
        environment=of_this_machine(),
        ready=probes.http(f"http://127.0.0.1:{port}/control/seen"),
    )
    async with running(program, home), aiohttp.ClientSession() as session:
        stand_in = StandIn(f"http://localhost:{port}/api", session)
        await stand_in.knows(
            users={
                "alice": {"id": 1, "userName": "alice", "email": "alice@example.org"},
                "bob": {"id": 2, "userName": "bob", "email": None},
            },
            tokens={ALICE: "alice", BOB: "bob"},
            members={str(WORKSPACE): ["alice"], str(OTHERS): ["bob"]},
        )
        yield stand_in


def platforms_file(path: Path, endpoint: str, *, direct: bool = False, more: str = "") -> Path:
    """Write the operator's file with the stand-in."""
    digest = hashlib.sha256(PAIRING_SECRET.encode()).hexdigest()
    path.write_text(
        f'[[platform]]\nendpoint = "{endpoint}"\nsecrets = ["{digest}"]\ndirect = {str(direct).lower()}\n{more}'
    )
    return path


def container_registry(upstreams: Upstreams, registry: str, credential_id: str = "cred-1") -> dict[str, Any]:
    """A credential of a workspace for *registry*, with the login in the operator's auth file."""
    auths = json.loads(upstreams.auth_file.read_text())["auths"]
    user, _, password = base64.b64decode(auths[registry]["auth"]).decode().partition(":")
    secret = {"discriminator": "container-reg", "userName": user, "password": password, "registry": registry}
    return {"id": credential_id, "registry": registry, "secret": secret}
