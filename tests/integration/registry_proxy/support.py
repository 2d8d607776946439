"""Servers for the registry-proxy's tests: a scripted HTTP server, and a real registry with an image."""

import asyncio
import gzip
import io
import json
import os
import socket
import ssl
import sys
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import bcrypt
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from minio import Minio
from msgspec import Struct
from yarl import URL

from swell.oci.digest import Digest, digest_of
from swell.oci.media_types import OCI_CONFIG, OCI_LAYER, OCI_MANIFEST
from swell.store.connections.settings import S3Settings
from swell_embedded.ports import Ports

Answer = Callable[[web.Request], web.StreamResponse | Awaitable[web.StreamResponse]]


class Script:
    """A real HTTP server on loopback. A path answers as set by `on`, everything else with 404.

    Several answers for one path are given in turn; the last one stays. `seen` are the requests, in order.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, URL, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.url = URL()
        self._answers: dict[str, list[Answer]] = {}

    def on(self, path: str, *answers: Answer) -> None:
        self._answers[path] = list(answers)

    @property
    def authority(self) -> str:
        return self.url.authority

    async def is_asked(self) -> bool:
        """Whether any request has come."""
        return bool(self.seen)

    def asked(self, path: str) -> list[str | None]:
        """The `Authorization` of each request for *path*."""
        return [authorization for _, url, authorization in self.seen if url.path == path]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.rel_url, request.headers.get("Authorization")))
        self.headers.append(dict(request.headers))
        answers = self._answers.get(request.path, [lambda _: web.Response(status=404, text="secret of upstream")])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        found = answer(request)
        return found if isinstance(found, web.StreamResponse) else await found


@asynccontextmanager
async def serving(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    """A `Script` on a free port of loopback."""
    script = Script()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", script.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0, ssl_context=tls)
    await site.start()
    script.url = URL(f"{'https' if tls else 'http'}://{host}:{runner.addresses[0][1]}")
    try:
        yield script
    finally:
        await runner.cleanup()


class Names(AbstractResolver):
    """A resolver that knows the records of a test: each name's addresses and ports, in order; `asked` are the names."""

    def __init__(self, names: dict[str, list[tuple[str, int]]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError(None, "no such name")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=there or port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address, there in self.names[host]
        ]

    async def close(self) -> None:
        """Nothing is open."""


def said(
    status: int = 200, body: bytes = b"", *, content_type: str = "application/octet-stream", **headers: str
) -> Answer:
    """An answer; *headers* with `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(status=status, body=body, content_type=content_type, headers=named)


def broken_off(body: bytes, length: int) -> Answer:
    """An answer that announces *length* bytes, sends *body* and closes the connection."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(length)})
        await response.prepare(request)
        await response.write(body)
        assert request.transport
        request.transport.close()
        return response

    return answer


def ranged(content: bytes) -> Answer:
    """*content*, or the part of it that is asked for."""

    def answer(request: web.Request) -> web.Response:
        if "Range" not in request.headers:
            return web.Response(body=content)
        part = request.http_range
        stop = len(content) if part.stop is None else part.stop
        range_header = {"Content-Range": f"bytes {part.start}-{stop - 1}/{len(content)}"}
        return web.Response(status=206, body=content[part.start : stop], headers=range_header)

    return answer


class Gate:
    """An answer of *content* that stops in its middle until it is opened, and then goes on or *breaks* off."""

    def __init__(self, content: bytes, *, breaks: bool = False) -> None:
        self._content = content
        self._breaks = breaks
        self._opened = asyncio.Event()

    def open(self) -> None:
        self._opened.set()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(self._content))})
        await response.prepare(request)
        middle = len(self._content) // 2
        await response.write(self._content[:middle])
        await self._opened.wait()
        if self._breaks and request.transport:
            request.transport.close()
        else:
            await response.write(self._content[middle:])
        return response


class Pushed(Struct, frozen=True):
    """An image in a registry, and its parts."""

    manifest: bytes
    config: bytes
    layer: bytes
    tar: bytes


def make_image(text: str = "hello\n") -> Pushed:
    """A small OCI image: one layer with one file."""
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w") as tar:
            member = tarfile.TarInfo("hello.txt")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
        tar_bytes = file.getvalue()
    layer = gzip.compress(tar_bytes, mtime=0)
    rootfs = {"type": "layers", "diff_ids": [digest_of(tar_bytes)]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    parts = [
        {"mediaType": kind, "digest": digest_of(content), "size": len(content)}
        for kind, content in ((OCI_CONFIG, config), (OCI_LAYER, layer))
    ]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": parts[0], "layers": parts[1:]}
    return Pushed(json.dumps(manifest).encode(), config, layer, tar_bytes)


class Registry(Struct, frozen=True):
    """Debian's `docker-registry` with HTTP Basic."""

    authority: str
    user: str = "swell"
    password: str = "pass:word"

    @property
    def basic(self) -> str:
        return aiohttp.encode_basic_auth(self.user, self.password)

    @property
    def auth_file(self) -> bytes:
        return json.dumps({"auths": {self.authority: {"auth": self.basic.removeprefix("Basic ")}}}).encode()

    async def push(self, repository: str, tag: str, image: Pushed) -> Digest:
        """Push *image* as a client does; gives its digest."""
        base = URL(f"http://{self.authority}/v2/{repository}/")
        async with aiohttp.ClientSession(headers={"Authorization": self.basic}, raise_for_status=True) as session:
            for content in (image.config, image.layer):
                async with session.post(base / "blobs" / "uploads" / "") as begun:
                    upload = base.join(URL(begun.headers["Location"], encoded=True))
                async with session.put(upload.update_query(digest=digest_of(content)), data=content):
                    pass
            headers = {"Content-Type": OCI_MANIFEST}
            async with session.put(base / "manifests" / tag, data=image.manifest, headers=headers):
                return digest_of(image.manifest)


@asynccontextmanager
async def docker_registry(home: Path) -> AsyncIterator[Registry]:
    """A real registry with its data in *home*."""
    registry = Registry(f"127.0.0.1:{Ports.free().registry}")
    hashed = bcrypt.hashpw(registry.password.encode(), bcrypt.gensalt(4)).decode()
    (home / "htpasswd").write_text(f"{registry.user}:{hashed}\n")
    config = {
        "version": 0.1,
        "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}},
        "http": {"addr": registry.authority},
        "auth": {"htpasswd": {"realm": "a registry", "path": str(home / "htpasswd")}},
    }
    (home / "config.yml").write_text(json.dumps(config))
    async with running("docker-registry", "serve", str(home / "config.yml"), log=home / "log"):
        await accepting(f"http://{registry.authority}/v2/", 401)
        yield registry


class S3(Struct, frozen=True):
    """SeaweedFS's S3 server, and who may use it."""

    endpoint: str
    access_key: str = "swell"
    secret_key: str = "swell-secret-key"

    @property
    def settings(self) -> S3Settings:
        return S3Settings(endpoint=self.endpoint, access_key=self.access_key, secret_key=self.secret_key)

    def make_bucket(self, name: str) -> None:
        """Make a bucket, and see that it takes an object: the servers behind S3 are there a moment later."""
        client = Minio(URL(self.endpoint).authority, self.access_key, self.secret_key, secure=False, region="us-east-1")
        client.make_bucket(name)
        client.put_object(name, "ready", io.BytesIO(b""), 0)


@asynccontextmanager
async def weed_mini(home: Path) -> AsyncIterator[S3]:
    """A real S3 server with its data in *home* and one bucket, `swell-layers`."""
    taken = Ports.free().s3_ports
    http = taken[:5]
    s3 = S3(f"http://127.0.0.1:{http[0]}")
    ports = zip(("s3", "master", "volume", "filer", "admin"), http, strict=True)
    port_options = [f"-{name}.port={port}" for name, port in ports]
    fixed = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-webdav=false"]
    fixed += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    environment = {"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key, "GOMEMLIMIT": "400MiB"}
    command = ["weed", "-logtostderr=true", "mini", f"-dir={home}", *fixed, *port_options]
    try:
        async with running(*command, log=home / "log", environment=environment):
            await accepting(f"{s3.endpoint}/", 403)
            await asyncio.to_thread(s3.make_bucket, "swell-layers")
            yield s3
    finally:
        for socket in (path for port in taken for path in Path("/tmp").glob(f"seaweedfs-*{port}.sock")):
            socket.unlink()


@asynccontextmanager
async def running(*command: str, log: Path, environment: dict[str, str] | None = None) -> AsyncIterator[None]:
    """*command* as a child that ends with the block; what it says is in *log*."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with log.open("wb") as output:
        child = await asyncio.create_subprocess_exec(
            *command, stdout=output, stderr=output, env={**os.environ, "PATH": path, **(environment or {})}
        )
    try:
        yield
    finally:
        child.terminate()
        await asyncio.wait_for(child.wait(), 30)


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Wait at most a minute until what is asked for holds."""
    async with asyncio.timeout(60):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.02)


async def accepting(url: str, status: int) -> None:
    """Wait at most a minute until *url* answers with *status*."""
    async with asyncio.timeout(60), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url) as response:
                    if response.status == status:
                        return
            except aiohttp.ClientError:
                pass  # not there yet
            await asyncio.sleep(0.05)
