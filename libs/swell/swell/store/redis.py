"""The connection to Redis; only commands of Redis 7.0 are used, so managed services and Valkey work, too."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from swell.errors import Unavailable
from swell.instruments import POOL_USED, pool
from swell.log import log, warn_once_a_second

CONNECTIONS = 64


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


@asynccontextmanager
async def connect(url: str) -> AsyncIterator["Redis"]:
    """Open a pool of at most 64 connections to *url*; a command has 5 s and is retried on a broken connection.

    Raises:
        Unavailable: no server answers.
    """
    connections = _Pool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=5,
        socket_timeout=5,
        socket_connect_timeout=3,
        retry=Retry(ExponentialWithJitterBackoff(cap=0.5, base=0.05), 2, (RedisConnectionError, RedisTimeoutError)),
    )
    try:
        async with Redis(connection_pool=connections) as redis:
            with translated():
                await redis.ping()
            await check_memory(redis)
            with pool("redis", CONNECTIONS):
                yield redis
    finally:
        await connections.aclose()


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
