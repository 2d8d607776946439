"""The JetStream streams, and the connection to NATS.

`JOBS` is a work queue: a job stays until a worker acknowledges it. `EVENTS` and `LOGS` have many readers and a maximum
age. `DEAD` stores messages that no worker could handle, for the operator. All streams are on disk and have limits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import NamedTuple

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import BadRequestError

from swell.errors import Unavailable
from swell.log import log

JOBS, DEAD = "JOBS", "DEAD"
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
    StreamConfig(name="EVENTS", subjects=["events.>"], max_age=7 * _DAY, max_bytes=1 << 30, duplicate_window=600.0),
    StreamConfig(name="LOGS", subjects=["logs.>"], max_age=3 * _DAY, max_bytes=4 << 30, allow_direct=True),
    StreamConfig(name=DEAD, subjects=["dead.>"], max_age=30 * _DAY, max_msgs=10_000, max_bytes=1 << 30),
)


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
            await client.connect(
                servers=url.split(","),
                name=name,
                connect_timeout=3,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                drain_timeout=5,
                error_cb=_log_error,
                disconnected_cb=_log_lost,
                reconnected_cb=_log_reconnected,
            )
            stream = client.jetstream(timeout=5)
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


async def _ensure(stream: JetStreamContext, config: StreamConfig) -> None:
    try:
        await stream.add_stream(config)
    except BadRequestError:  # it exists with another configuration
        await stream.update_stream(config)


async def _log_error(error: Exception) -> None:
    log.warning("nats error", error=repr(error))


async def _log_lost() -> None:
    log.warning("nats connection lost")


async def _log_reconnected() -> None:
    log.info("nats connection restored")
