"""Registries and a web server that do not belong to Swell; requests name them."""

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

from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.child import Child
from swell_embedded.processes.program import Program
from swell_embedded.stack import open_backends
from tests.e2e.busybox import FORMS, REPOSITORY, push_all
from tests.e2e.environment import of_this_machine
from tests.e2e.secrets_used import found, search, secret

USER, PASSWORD = "reader", "pass:word"


class Upstreams(Struct, frozen=True, kw_only=True):
    """Addresses (`host:port`) of registries with the same image and different authentication.

    `basic` needs HTTP Basic. `mistaken` is its second name, for which the auth file has a wrong password. `bearer`
    needs a token of its realm, and the realm needs a password.
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
    """Start all of them with the base image."""
    basic_home = home / "basic"
    async with (
        open_registry(home / "open") as anonymous,
        open_backends(basic_home, ("registry",), environment=of_this_machine()) as stack,
        open_bearer(anonymous) as bearer,
    ):
        basic = stack.registry
        login = _basic(basic.username, secret("password of the registry", basic.password))
        await push_all(anonymous)
        await push_all(basic.address, login)
        mistaken = basic.address.replace("localhost", "127.0.0.1")
        logins = {basic.address: login, mistaken: _basic(basic.username, "wrong"), bearer: _basic(USER, PASSWORD)}
        (home / "auth.json").write_text(json.dumps({"auths": {name: _entry(each) for name, each in logins.items()}}))
        yield Upstreams(
            open=anonymous, basic=basic.address, mistaken=mistaken, bearer=bearer, auth_file=home / "auth.json"
        )


@asynccontextmanager
async def open_registry(home: Path) -> AsyncIterator[str]:
    """Start Debian's docker-registry with its data in *home*, without authentication; yield its address."""
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
    """Start *program* and wait until it is ready; it stops with the block."""
    child = await Child.start(program, logs)
    try:
        await child.ready()
        yield child
    finally:
        await child.stop()
        found.extend(await asyncio.to_thread(search, logs / f"{program.name}.log"))


class _Bearer:
    """A proxy of *registry* that requires tokens, each for one repository, and the realm that issues them.

    Source: Docker Registry token authentication, https://distribution.github.io/distribution/spec/auth/token/
    """

    def __init__(self, registry: str, session: aiohttp.ClientSession) -> None:
        self._registry = registry
        self._session = session
        self._given: dict[str, str] = {}

    async def token(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != _basic(USER, PASSWORD):
            return web.json_response({"errors": [{"code": "UNAUTHORIZED"}]}, status=401)
        token = secrets.token_hex(16)
        self._given[token] = request.query.get("scope", "")  # a login has no scope
        return web.json_response({"token": token, "expires_in": 300})

    async def answer(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self._given.get(token) != f"repository:{REPOSITORY}:pull":
            challenge = f'Bearer realm="http://{request.host}/token",service="e2e"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        headers = {"Accept": ", ".join(request.headers.getall("Accept", []))}
        async with self._session.get(f"http://{self._registry}{request.path}", headers=headers) as response:
            return web.Response(
                status=response.status,
                body=await response.read(),
                headers={"Content-Type": response.headers["Content-Type"]},
            )


@asynccontextmanager
async def open_bearer(registry: str) -> AsyncIterator[str]:
    """Start a registry with the content of *registry* that requires tokens; yield its address."""
    async with aiohttp.ClientSession() as session:
        proxy = _Bearer(registry, session)
        async with _serving(web.get("/token", proxy.token), web.get("/v2/{path:.*}", proxy.answer)) as authority:
            yield authority


class CountingProxy:
    """A proxy of *registry* that counts requests, as `GET /v2/...`, and adds the headers *login*.

    It leaves the next `unanswered` requests without a response.
    """

    def __init__(self, registry: str, login: Mapping[str, str], session: aiohttp.ClientSession) -> None:
        self.authority = ""
        self.requests: Counter[str] = Counter()
        self.unanswered = 0
        self._registry = registry
        self._login = login
        self._session = session

    async def answer(self, request: web.Request) -> web.Response:
        self.requests[f"{request.method} {request.path}"] += 1
        if self.unanswered:
            self.unanswered -= 1
            await asyncio.sleep(60)
        headers = {"Accept": request.headers.get("Accept", "*/*"), **self._login}
        url = f"http://{self._registry}{request.path}"
        async with self._session.request(request.method, url, headers=headers) as response:
            response_headers = {name: response.headers[name] for name in _PASSED_ON if name in response.headers}
            return web.Response(status=response.status, body=await response.read(), headers=response_headers)


_PASSED_ON = ("Content-Type", "Docker-Content-Digest")


@asynccontextmanager
async def open_counting_proxy(registry: str, login: Mapping[str, str] | None = None) -> AsyncIterator[CountingProxy]:
    """Start a `CountingProxy` of *registry* (`host:port`) on a free port."""
    async with aiohttp.ClientSession() as session:
        counted = CountingProxy(registry, login or {}, session)
        async with _serving(web.get("/v2/{path:.*}", counted.answer)) as authority:
            counted.authority = authority
            yield counted


class Web(Struct, frozen=True):
    """A web server at *authority* with *files* by name."""

    authority: str
    files: dict[str, bytes]

    def add(self, name: str, content: bytes) -> str:
        """Store *content* under *name* and return its URL."""
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
