"""The connection to Redis; only commands of Redis 7.0 are used, so managed services and Valkey work, too."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from swell.errors import Unavailable
from swell.log import log, warn_once_a_second
from swell.net.reach import client_certificate, trusting
from swell.observe.instruments import POOL_USED, pool
from swell.settings import SettingsInvalid
from swell.store.connections.sentinel_url import parse_sentinels
from swell.store.connections.settings import RedisSettings

CONNECTIONS = 64
_BROKEN = (RedisConnectionError, RedisTimeoutError)
_CONNECTING = {
    "socket_connect_timeout": 3,
    "retry": Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 2, _BROKEN),
}


class _Pool(BlockingConnectionPool):
    """Publishes how many of its connections are in use."""

    _used = POOL_USED.labels("redis")

    async def get_connection(self, *_: object, **__: object) -> AbstractConnection:
        connection: AbstractConnection = await super().get_connection()  # type: ignore[no-untyped-call]
        self._used.set(len(self._in_use_connections))
        return connection

    async def release(self, connection: AbstractConnection) -> None:
        await super().release(connection)
        self._used.set(len(self._in_use_connections))


class _SentinelPool(_Pool, SentinelConnectionPool):
    """Connects to the server that the Sentinels name, and again when they name another one."""


@asynccontextmanager
async def connect(settings: RedisSettings | str, ca_file: Path | None = None) -> AsyncIterator["Redis"]:
    """Open a pool of at most 64 connections to the server of *settings* (or of a URL).

    A command has 5 s and is retried on a broken connection. With Sentinel, new connections go to the current server.

    Raises:
        SettingsInvalid: a file cannot be read, or the URL has another form.
        Unavailable: no server answers.
    """
    chosen = RedisSettings(url=settings) if isinstance(settings, str) else settings
    async with AsyncExitStack() as opened:
        connections = await _pool_of(chosen, _tls(chosen, ca_file), opened)
        opened.push_async_callback(connections.aclose)
        redis = await opened.enter_async_context(Redis(connection_pool=connections))
        with translated():
            await redis.ping()
        await check_memory(redis)
        with pool("redis", CONNECTIONS):
            yield redis


async def _pool_of(settings: RedisSettings, tls: dict[str, Any], opened: AsyncExitStack) -> _Pool:
    options: dict[str, Any] = {"max_connections": CONNECTIONS, "timeout": 5, "socket_timeout": 5, **_CONNECTING}
    if (sentinels := parse_sentinels(settings.url)) is None:
        try:
            return _Pool.from_url(settings.url, **options, **(tls if settings.url.startswith("rediss:") else {}))
        except ValueError as error:
            raise SettingsInvalid(f"SWELL_REDIS_URL: {error}") from error
    if not sentinels.is_tls:
        tls = {}
    login = {"username": settings.sentinel_user or None, "password": settings.sentinel_password or None}
    asked = {"ssl": sentinels.is_tls, "socket_timeout": 2, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}
    manager = Sentinel(sentinels.hosts, sentinel_kwargs={**asked, **login, **tls})  # type: ignore[no-untyped-call]
    opened.push_async_callback(manager.aclose)
    return _SentinelPool(
        connection_class=SentinelManagedSSLConnection if sentinels.is_tls else SentinelManagedConnection,
        service_name=sentinels.name,
        sentinel_manager=manager,
        username=sentinels.user,
        password=sentinels.password,
        db=sentinels.database,
        **options,
        **tls,
    )


def _tls(settings: RedisSettings, ca_file: Path | None) -> dict[str, Any]:
    """The arguments of a TLS connection; their files are read now, so that a wrong one stops the service by name."""
    certificate = client_certificate("SWELL_REDIS", settings.certificate_file, settings.certificate_key_file)
    if ca_file or certificate:
        trusting(ca_file, certificate)
    options = {"ssl_ca_certs": str(ca_file)} if ca_file else {}
    if certificate:
        options |= {"ssl_certfile": str(certificate.certificate), "ssl_keyfile": str(certificate.key)}
    return options


async def check_memory(redis: "Redis") -> None:
    """Log a warning unless the server has a memory limit and refuses writes at it: another policy would remove tokens,
    build records or locks, and without a limit the machine's memory is the limit."""
    try:
        memory = await redis.info("memory")
    except (RedisError, OSError) as error:
        log.warning("memory settings of Redis not known", error=str(error))
        return
    policy = str(memory.get("maxmemory_policy", ""))
    if policy and policy != "noeviction":
        log.warning("Redis may remove records: set maxmemory-policy to noeviction", policy=policy)
    if not int(memory.get("maxmemory", 0)):
        log.warning("Redis has no memory limit: set maxmemory")


@contextmanager
def translated() -> Iterator[None]:
    """Convert errors of Redis in the block into `Unavailable`; their details are logged and not shown to clients."""
    try:
        yield
    except (RedisError, OSError) as error:
        if (task := asyncio.current_task()) and task.cancelling():
            raise asyncio.CancelledError from error  # the client reports a cancellation as a timeout
        warn_once_a_second("Redis failed", error=str(error))
        raise Unavailable("the state store does not answer") from error


def raw(value: bytes | str) -> bytes:
    """Return a reply of Redis as bytes."""
    return value if isinstance(value, bytes) else value.encode()


def text(value: object) -> str:
    """Return a reply of Redis as text."""
    return value.decode() if isinstance(value, bytes) else str(value)
