"""The JetStream streams, and the connection to them.

`JOBS` is a work queue: a job stays until one worker has acknowledged it. `EVENTS` and `LOGS` are read by many and
forgotten by age; `DEAD` keeps what nobody could handle, for the operator. Everything is on disk and bounded.
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
        discard=DiscardPolicy.NEW,  # a full queue refuses work, it does not forget any
        max_msgs=100_000,
        duplicate_window=600.0,
    ),
    StreamConfig(name="EVENTS", subjects=["events.>"], max_age=7 * _DAY, max_bytes=1 << 30, duplicate_window=600.0),
    StreamConfig(name="LOGS", subjects=["logs.>"], max_age=3 * _DAY, max_bytes=4 << 30, allow_direct=True),
    StreamConfig(name=DEAD, subjects=["dead.>"], max_age=30 * _DAY, max_msgs=10_000, max_bytes=1 << 30),
)


class Nats(NamedTuple):
    """A connection: `client` for what is heard once, `stream` for what is kept."""

    client: Client
    stream: JetStreamContext


@asynccontextmanager
async def connect(url: str, name: str) -> AsyncIterator[Nats]:
    """Connect to the NATS server(s) at *url* and see that the streams are there; reconnects by itself for ever.

    Raises:
        Unavailable: no server answers within some seconds.
    """
    client = Client()
    try:
        async with asyncio.timeout(WITHIN.total_seconds()):  # else it goes on trying for ever, the first time, too
            await client.connect(
                servers=url.split(","),
                name=name,
                connect_timeout=3,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                drain_timeout=5,
                error_cb=_complain,
                disconnected_cb=_tell_lost,
                reconnected_cb=_tell_found,
            )
            stream = client.jetstream(timeout=5)
            for config in STREAMS:
                await _ensure(stream, config)
    except (NatsError, nats.js.errors.Error, OSError, TimeoutError) as error:
        await client.close()
        raise Unavailable(f"NATS does not answer: {str(error) or 'it is not there'}") from error
    try:
        yield Nats(client, stream)
    finally:
        await _leave(client)


async def _leave(client: Client) -> None:
    """Send what is waiting to be sent; at once when there is nobody to send it to."""
    try:
        await client.drain()
    except NatsError:
        with suppress(OSError):  # what was waiting is written into the broken connection
            await client.close()


async def _ensure(stream: JetStreamContext, config: StreamConfig) -> None:
    try:
        await stream.add_stream(config)
    except BadRequestError:  # it is there with an older configuration
        await stream.update_stream(config)


async def _complain(error: Exception) -> None:
    log.warning("nats", error=repr(error))


async def _tell_lost() -> None:
    log.warning("nats connection lost")


async def _tell_found() -> None:
    log.info("nats connection is back")
