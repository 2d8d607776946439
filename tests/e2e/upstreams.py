"""Registries and a web server that are not Swell's: what its users name in their requests."""

import asyncio
import json
import secrets
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from aiohttp import web
from msgspec import Struct

from swell_embedded import probes
from swell_embedded.child import Child
from swell_embedded.ports import Ports
from swell_embedded.program import Program
from swell_embedded.stack import open_backends
from tests.e2e.busybox import FORMS, REPOSITORY, push_all
from tests.e2e.environment import of_this_machine

USER, PASSWORD = "reader", "pass:word"


class Upstreams(Struct, frozen=True, kw_only=True):
    """Authorities (`host:port`) of registries that hold the same image, each behind another door.

    `basic` wants HTTP Basic; `mistaken` is its other name, for which the auth file has a wrong password. `bearer` wants
    a token of its realm, which wants a password.
    """

    open: str
    basic: str
    mistaken: str
    bearer: str
    auth_file: Path

    @property
    def hosts(self) -> tuple[str, ...]:
        return (self.open, self.basic, self.mistaken, self.bearer)

    def image(self, form: str = FORMS[0]) -> str:
        return image_of(self.open, form)


def image_of(registry: str, form: str = FORMS[0]) -> str:
    return f"{registry}/{REPOSITORY}:{form}"


@asynccontextmanager
async def open_upstreams(home: Path) -> AsyncIterator[Upstreams]:
    """All of them, filled."""
    basic_home = home / "basic"
    async with (
        open_registry(home / "open") as anonymous,
        open_backends(basic_home, ("registry",), environment=of_this_machine()) as stack,
        open_bearer(anonymous) as bearer,
    ):
        basic = stack.registry
        right = _basic(basic.username, basic.password)
        await push_all(anonymous)
        await push_all(basic.address, right)
        mistaken = basic.address.replace("localhost", "127.0.0.1")
        known = {basic.address: right, mistaken: _basic(basic.username, "wrong"), bearer: _basic(USER, PASSWORD)}
        (home / "auth.json").write_text(json.dumps({"auths": {name: _entry(each) for name, each in known.items()}}))
        yield Upstreams(
            open=anonymous, basic=basic.address, mistaken=mistaken, bearer=bearer, auth_file=home / "auth.json"
        )


@asynccontextmanager
async def open_registry(home: Path) -> AsyncIterator[str]:
    """Debian's docker-registry with its data in *home*, open to everybody; gives its authority."""
    home.mkdir()
    port = Ports.free().registry
    config = {
        "version": "0.1",
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (home / "config.yml").write_text(json.dumps(config))  # JSON is YAML
    program = Program(
        name="upstream",
        command=("docker-registry", "serve", str(home / "config.yml")),
        environment=of_this_machine(),
        ready=probes.http(f"http://127.0.0.1:{port}/v2/"),
    )
    async with running(program, home):
        yield f"localhost:{port}"


@asynccontextmanager
async def running(program: Program, logs: Path) -> AsyncIterator[Child]:
    """*program*, ready; it ends with the block."""
    child = await Child.start(program, logs)
    try:
        await child.ready()
        yield child
    finally:
        await child.stop()


class _Bearer:
    """A door before *registry* that opens to tokens, each for one repository, and the realm that gives them.

    Source: distribution-spec's token authentication.
    """

    def __init__(self, registry: str, session: aiohttp.ClientSession) -> None:
        self._registry = registry
        self._session = session
        self._given: dict[str, str] = {}

    async def token(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != _basic(USER, PASSWORD):
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        token = secrets.token_hex(16)
        self._given[token] = request.query.get("scope", "")  # logging in asks for none
        return web.json_response({"token": token, "expires_in": 300})

    async def answer(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._given.get(token) != f"repository:{REPOSITORY}:pull":
            challenge = f'Bearer realm="http://{request.host}/token",service="e2e"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        headers = {"Accept": ", ".join(request.headers.getall("Accept", []))}
        async with self._session.get(f"http://{self._registry}{request.path}", headers=headers) as found:
            return web.Response(
                status=found.status, body=await found.read(), headers={"Content-Type": found.headers["Content-Type"]}
            )


@asynccontextmanager
async def open_bearer(registry: str) -> AsyncIterator[str]:
    """A registry that wants tokens and has what *registry* has; gives its authority."""
    async with aiohttp.ClientSession() as session:
        door = _Bearer(registry, session)
        async with _serving(web.get("/token", door.token), web.get("/v2/{path:.*}", door.answer)) as authority:
            yield authority


class Counted:
    """A door before *registry* that counts what goes through it, as `GET /v2/...`; it shows *login* there itself.

    It leaves the next `unanswered` requests without an answer.
    """

    def __init__(self, registry: str, login: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self.authority = ""
        self.asked: Counter[str] = Counter()
        self.unanswered = 0
        self._registry = registry
        self._login = login
        self._session = session

    async def answer(self, request: web.Request) -> web.Response:
        self.asked[f"{request.method} {request.path}"] += 1
        if self.unanswered:
            self.unanswered -= 1
            await asyncio.sleep(60)
        headers = {"Accept": request.headers.get("Accept", "*/*"), **self._login}
        url = f"http://{self._registry}{request.path}"
        async with self._session.request(request.method, url, headers=headers) as found:
            kept = {name: found.headers[name] for name in _TOLD if name in found.headers}
            return web.Response(status=found.status, body=await found.read(), headers=kept)


_TOLD = ("Content-Type", "Docker-Content-Digest")


@asynccontextmanager
async def open_counted(registry: str, login: Mapping[str, str] | None = None) -> AsyncIterator[Counted]:
    """A `Counted` before *registry* (`host:port`), on a free port."""
    async with aiohttp.ClientSession() as session:
        counted = Counted(registry, login or {}, session)
        async with _serving(web.get("/v2/{path:.*}", counted.answer)) as authority:
            counted.authority = authority
            yield counted


class Web(Struct, frozen=True):
    """A web server at *authority* that has *files*, by name."""

    authority: str
    files: dict[str, bytes]

    def keep(self, name: str, content: bytes) -> str:
        """Have *content* there; gives its address."""
        self.files[name] = content
        return f"http://{self.authority}/{name}"


@asynccontextmanager
async def open_web() -> AsyncIterator[Web]:
    files: dict[str, bytes] = {}

    async def answer(request: web.Request) -> web.Response:
        content = files.get(request.match_info["name"])
        return web.Response(body=content) if content is not None else web.Response(status=404)

    async with _serving(web.get("/{name}", answer)) as authority:
        yield Web(authority, files)


@asynccontextmanager
async def _serving(*routes: web.RouteDef) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"localhost:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def _basic(user: str, password: str) -> str:
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def _entry(basic: str) -> Mapping[str, str]:
    return {"auth": basic.removeprefix("Basic ")}
