"""The JetStream streams, and the connection to NATS.

`JOBS` is a work queue: a job stays until a worker acknowledges it. `EVENTS` and `LOGS` have many readers and a maximum
age. `DEAD` stores messages that no worker could handle, for the operator. All streams are on disk and have limits.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from swell.errors import Unavailable
from swell.log import log, warn_once_a_second

JOBS, EVENTS, DEAD = "JOBS", "EVENTS", "DEAD"
WITHIN = timedelta(seconds=15)
_DAY = 24 * 3600.0
STREAMS = (
    StreamConfig(
        name=JOBS,
        subjects=["jobs.>"],
        retention=RetentionPolicy.WORK_QUEUE,
        discard=DiscardPolicy.NEW,  # a full queue refuses new jobs and keeps the old ones
        max_msgs=100_000,
        duplicate_window=600.0,
    ),
    StreamConfig(name=EVENTS, subjects=["events.>"], max_age=7 * _DAY, max_bytes=1 << 30, duplicate_window=600.0),
    StreamConfig(name="LOGS", subjects=["logs.>"], max_age=3 * _DAY, max_bytes=4 << 30, allow_direct=True),
    StreamConfig(name=DEAD, subjects=["dead.>"], max_age=30 * _DAY, max_msgs=10_000, max_bytes=1 << 30),
)


_added: dict[str, StreamConfig] = {}
"""Further streams of this process, by name."""


class Nats(NamedTuple):
    """A connection: `client` for plain messages, `stream` for messages that JetStream stores."""

    client: Client
    stream: JetStreamContext


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncIterator[Nats]:
    """Connect to the NATS servers at *url* (separated by commas) and create missing streams; reconnects by itself.

    Raises:
        Unavailable: no server answers within 15 s.
    """
    client = Client()
    try:
        async with asyncio.timeout(WITHIN.total_seconds()):  # otherwise the first connection is tried without end
            stream = client.jetstream(timeout=5)
            await client.connect(
                servers=url.split(","),
                name=name,
                connect_timeout=3,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                drain_timeout=5,
                error_cb=_log_error,
                disconnected_cb=_log_lost,
                reconnected_cb=partial(_restore, stream),
            )
            for config in STREAMS:
                await _ensure(stream, config)
    except (NatsError, nats.js.errors.Error, OSError, TimeoutError) as error:
        await client.close()
        raise Unavailable(f"NATS does not answer: {str(error) or 'no server'}") from error
    try:
        yield Nats(client, stream)
    finally:
        await _close(client)


async def _close(client: Client) -> None:
    """Send pending messages, unless the connection is broken."""
    try:
        await client.drain()
    except NatsError:
        with suppress(OSError):  # pending messages are written to the broken connection
            await client.close()


@contextmanager
def translated(message: str = "the message queue does not answer") -> Iterator[None]:
    """Convert errors of NATS in the block into `Unavailable(message)`; their details are logged."""
    try:
        yield
    except (NatsError, TimeoutError) as error:
        warn_once_a_second("NATS failed", error=str(error) or "timeout")
        raise Unavailable(message) from error


async def create_missing(stream: JetStreamContext) -> None:
    """Create the streams that the server has lost, with its disk or by a mistake of its operator.

    Raises:
        Unavailable: they cannot be created.
    """
    with translated():
        for config in (*STREAMS, *_added.values()):
            with suppress(BadRequestError):  # it exists with another configuration, of another version of Swell
                await stream.add_stream(config)


async def created(stream: JetStreamContext, name: str) -> datetime | None:
    """Return when the stream *name* was created; a missing one is created now.

    Raises:
        Unavailable: the server does not answer, or cannot create it.
    """
    with translated():
        try:
            return (await stream.stream_info(name)).created
        except NotFoundError:
            await create_missing(stream)
            log.warning("streams were missing and have been created", stream=name)
            return (await stream.stream_info(name)).created


async def add_streams(stream: JetStreamContext, *configs: StreamConfig) -> None:
    """Create further streams, or change their configurations; `create_missing` creates them, too, from now on.

    Raises:
        Unavailable: the server does not answer, or refuses them.
    """
    _added.update({str(config.name): config for config in configs})
    with translated():
        for config in configs:
            await _ensure(stream, config)


async def _ensure(stream: JetStreamContext, config: StreamConfig) -> None:
    """Create a stream, or change its configuration to *config*; raises an error of NATS."""
    try:
        await stream.add_stream(config)
    except BadRequestError:  # it exists with another configuration
        await stream.update_stream(config)


async def _log_error(error: Exception) -> None:
    log.warning("nats error", error=repr(error))


async def _log_lost() -> None:
    log.warning("nats connection lost")


async def _restore(stream: JetStreamContext) -> None:
    """Create what the server may have lost before the connection was restored."""
    log.info("nats connection restored")
    try:
        await create_missing(stream)
    except Unavailable as error:  # the next message creates its stream
        log.warning("streams not created yet", error=str(error))
