"""The world as it looks from behind an operator's proxy: registries by TLS, under a certificate authority of the house.

The registry is a real one over the data of the plain one, so that images of either are images of both.
"""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import bcrypt
import trustme

from tests.integration.builder.buildah.test_network import outer_address
from tests.integration.builder.harness import Registry, free_port
from tests.integration.registry_proxy.registries.amazon import ECR, PUBLIC
from tests.integration.registry_proxy.support import running

NAME = "registry.example"
"""A registry that only the proxy can reach, like Amazon's."""

USER, PASSWORD = "ada", "pr0xy@password"
WITHIN = 30.0


class Outside:
    """`ca_file` is the authority, `direct` the registry's address without the proxy; `asked` is what the proxy was
    asked, by those who knew its password, and `port` where it listens."""

    def __init__(self, folder: Path, port: int) -> None:
        self.ca_file = folder / "ca.pem"
        self.direct = f"{outer_address()}:{port}"
        self.requests: list[str] = []
        self.strangers: list[str] = []
        self.port = 0
        self._registry = port

    def proxy(self, host: str | None = None) -> str:
        return f"http://{USER}:{PASSWORD.replace('@', '%40')}@{host or outer_address()}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError, asyncio.IncompleteReadError):
            line, _, headers = (await reader.readuntil(b"\r\n\r\n")).decode().partition("\r\n")
            login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if f"proxy-authorization: basic {login.lower()}" not in headers.lower():
                self.strangers.append(line)
                writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            elif line.startswith("CONNECT "):
                self.requests.append(line)
                await self._tunnel(reader, writer)
            else:
                self.requests.append(line)
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 12\r\n\r\nby the proxy")
            await writer.drain()

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._registry)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            back.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with closing(writer), suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()


@asynccontextmanager
async def outside(registry: Registry, folder: Path, *, login: str) -> AsyncIterator[Outside]:
    """*login* (`user:password`) opens the registry, beside the plain one's own."""
    world = Outside(folder, free_port())
    user, _, password = login.partition(":")
    hashed = b"%b:%b\n" % (user.encode(), bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)))
    known = (registry.auth_file.parent / "htpasswd").read_bytes()
    (folder / "htpasswd").write_bytes(known + hashed)
    address = world.direct.rpartition(":")[2]
    (folder / "config.json").write_text(json.dumps(_configuration(registry, folder, address)))
    async with running("docker-registry", "serve", str(folder / "config.json"), log=folder / "log"):
        await _answering(int(address))
        proxy = await asyncio.start_server(world.serve, "0.0.0.0", 0)
        world.port = proxy.sockets[0].getsockname()[1]
        try:
            yield world
        finally:
            proxy.close()


def _configuration(registry: Registry, folder: Path, port: str) -> dict[str, object]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert(NAME, ECR, PUBLIC, outer_address())
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "certificate.pem")
    tls = {"certificate": str(folder / "certificate.pem"), "key": str(folder / "key.pem")}
    return {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(registry.auth_file.parent / "data")}},
        "http": {"addr": f":{port}", "tls": tls},
        "auth": {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}},
    }


async def _answering(port: int) -> None:
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    async with asyncio.timeout(WITHIN):
        while True:
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unchecked)
                writer.close()
                return
            await asyncio.sleep(0.05)
