"""What the stand-in knows: users, tokens, workspaces, runs; and its answers to the requests of a pairing."""

import asyncio
import random
import secrets
from collections import deque
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from tests.platform.crypto import packet_1, packet_2


class Credential(Struct, kw_only=True):
    """`secret` is the JSON that the packet contains; `listed` is whether the list of credentials has it."""

    id: str
    provider: str = "container-reg"
    registry: str | None = None
    secret: dict[str, Any] = {}
    listed: bool = True


class Run(Struct, kw_only=True):
    status: str | None = "RUNNING"
    platform: str = "aws-batch"
    credentials_id: str | None = None


class Knowledge(Struct, kw_only=True):
    """The content of `POST /control`, which replaces the members that it has.

    `tokens` and `refresh_tokens` belong to users; `credentials` to `<user>/<workspace>`, `members` to workspaces.
    `delay` is the longest time before an answer, in seconds; answers then come in any order. `status` is that of all
    answers, if it is set.
    """

    users: dict[str, dict[str, Any]] = {}
    tokens: dict[str, str] = {}
    refresh_tokens: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    credentials: dict[str, list[Credential]] = {}
    runs: dict[str, Run] = {}
    delay: float = 0.0
    status: int | None = None
    gives_token: bool = True


class Seen(Struct, frozen=True):
    """A request that the stand-in got: the way it came, and its access token."""

    way: str
    method: str
    url: str
    token: str


Answer = tuple[int, str, dict[str, list[str]]]


class PlatformState:
    def __init__(self) -> None:
        self.knowledge = Knowledge()
        self.public_keys: dict[str, tuple[bytes, int]] = {}  # by pairing id: the key and the version of packets
        self.seen: deque[Seen] = deque(maxlen=100_000)

    async def answer(self, way: str, method: str, url: str, auth: str | None, body: str | None) -> Answer:
        """Answer the request *url* (its path and query), which came by *way*."""
        token = (auth or "").removeprefix("Bearer ")
        self.seen.append(Seen(way, method, url, token))
        if self.knowledge.delay:
            await asyncio.sleep(random.uniform(0, self.knowledge.delay))  # noqa: S311
        if self.knowledge.status:
            return self.knowledge.status, "{}", {}
        path, _, query_string = url.partition("?")
        query = {name: values[0] for name, values in parse_qs(query_string).items()}
        if (method, path) == ("POST", "/oauth/access_token"):
            return self._refresh({name: values[0] for name, values in parse_qs(body or "").items()})
        user = self.knowledge.tokens.get(token)
        if user is None:
            return 401, "{}", {}
        found = self._get(path.strip("/").split("/"), query, user) if method == "GET" else None
        return (200, msgspec.json.encode(found).decode(), {}) if found is not None else (404, "{}", {})

    def _refresh(self, form: Mapping[str, str]) -> Answer:
        user = self.knowledge.refresh_tokens.pop(form.get("refresh_token", ""), None)
        if user is None or form.get("grant_type") != "refresh_token":
            return 400, "{}", {}
        if not self.knowledge.gives_token:
            return 200, "{}", {}
        token, refresh_token = f"jwt-{secrets.token_hex(16)}", f"refresh-{secrets.token_hex(16)}"
        self.knowledge.tokens[token], self.knowledge.refresh_tokens[refresh_token] = user, user
        cookies = [f"JWT={token}; Path=/; HttpOnly", f"JWT_REFRESH_TOKEN={refresh_token}; Path=/oauth; HttpOnly"]
        return 200, "{}", {"set-cookie": cookies}

    def _get(self, parts: list[str], query: Mapping[str, str], user: str) -> object:
        workspace = query.get("workspaceId", "")
        if workspace and user not in self.knowledge.members.get(workspace, []):
            return None
        credentials = self.knowledge.credentials.get(f"{user}/{workspace}" if not workspace else f"/{workspace}", [])
        match parts:
            case ["user-info"]:
                return {"user": self.knowledge.users[user], "more": {"ignored": True}}
            case ["credentials"]:
                return {"credentials": [_listed(each) for each in credentials if each.listed]}
            case ["credentials", credential_id, "keys"]:
                found = next((each for each in credentials if each.id == credential_id), None)
                return {"keys": self._packet(found, query.get("pairingId", ""))} if found else None
            case ["workflow", run_id]:
                run = self.knowledge.runs.get(run_id)
                return {"workflow": {"id": run_id, "status": run.status}} if run else None
            case ["workflow", run_id, "launch"]:
                run = self.knowledge.runs.get(run_id)
                environment = run and {"id": "env", "platform": run.platform, "credentialsId": run.credentials_id}
                return {"launch": {"computeEnv": environment}} if run else None
        return None

    def _packet(self, credential: Credential, pairing_id: str) -> str:
        public_key, version = self.public_keys[pairing_id]
        if version == 2:
            return packet_2(public_key, credential.secret, pairing_id, credential.id)
        return packet_1(public_key, credential.secret)


def _listed(credential: Credential) -> dict[str, object]:
    return {
        "id": credential.id,
        "provider": credential.provider,
        "keys": {"registry": credential.registry, "password": None},
        "unknown": 1,
    }
