"""The JetStream streams, and the connection to NATS.

`JOBS` is a work queue: a job stays until a worker acknowledges it. `EVENTS` and `LOGS` have many readers and a maximum
age. `DEAD` stores messages that no worker could handle, for the operator. All streams are on disk and have limits.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.errors import APIError, BadRequestError, NotFoundError, ServiceUnavailableError

from swell.errors import Unavailable
from swell.jobs.login import SecureClient, options_of
from swell.jobs.settings import NatsSettings
from swell.log import log, warn_once_a_second

JOBS, EVENTS, DEAD = "JOBS", "EVENTS", "DEAD"
WITHIN = timedelta(seconds=15)
_DAY = 24 * 3600.0
_PAUSE = 0.5  # seconds
_EMPTY = StreamConfig()
_TOO_SMALL = frozenset({10005, 10023, 10074})
"""No suitable peers, insufficient resources, replicas without a cluster: https://github.com/nats-io/nats-server/blob/main/server/errors.json"""
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
    StreamConfig(
        name=DEAD,
        subjects=["dead.>"],
        max_age=30 * _DAY,
        max_msgs=10_000,
        max_msgs_per_subject=2_000,  # notices to broken receivers must not displace jobs, which have a subject each
        max_bytes=1 << 30,
    ),
)


class Streams(JetStreamContext):
    """JetStream; missing streams are created with *replicas* copies. `added` are further ones, by name."""

    def __init__(self, client: Client, replicas: int = 1) -> None:
        super().__init__(client, timeout=5)
        self.replicas = replicas
        self.added: dict[str, StreamConfig] = {}


class Nats(NamedTuple):
    """A connection: `client` for plain messages, `stream` for messages that JetStream stores."""

    client: Client
    stream: JetStreamContext


@asynccontextmanager
async def connect(
    settings: NatsSettings | str, name: str, ca_file: Path | None = None, *, within: timedelta = WITHIN
) -> AsyncIterator[Nats]:
    """Connect to the NATS servers of *settings* (or of a URL) and create missing streams; reconnects by itself.

    Raises:
        SettingsInvalid: see `options_of`.
        Unavailable: no server answers in time, or the cluster is too small for the replicas.
    """
    chosen = NatsSettings(url=settings) if isinstance(settings, str) else settings
    client = SecureClient()
    stream = Streams(client, chosen.replicas)
    try:
        async with asyncio.timeout(within.total_seconds()):  # otherwise the first connection is tried without end
            await client.connect(
                **options_of(chosen, ca_file),
                name=name,
                connect_timeout=3,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
                drain_timeout=5,
                error_cb=_log_error,
                disconnected_cb=partial(_log_lost, client),
                reconnected_cb=partial(_restore, stream),
            )
            for config in STREAMS:
                await _ensure(stream, config)
    except (NatsError, OSError, TimeoutError) as error:
        why = str(client.last_error or "") or str(error) or "no server"
        await client.close()
        raise Unavailable(f"NATS does not answer: {why}") from error
    except Unavailable:
        await client.close()
        raise
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
        for config in (*STREAMS, *(stream.added.values() if isinstance(stream, Streams) else ())):
            with suppress(BadRequestError):  # it exists with another configuration, of another version of Swell
                await stream.add_stream(_replicated(stream, config))


def _replicated(stream: JetStreamContext, config: StreamConfig) -> StreamConfig:
    return config.evolve(num_replicas=_replicas(stream))


def _replicas(stream: JetStreamContext) -> int:
    return stream.replicas if isinstance(stream, Streams) else 1


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
    """Create further streams, or change their configurations; `create_missing` of *stream* creates them, too.

    Raises:
        Unavailable: the server does not answer, or refuses them.
    """
    if isinstance(stream, Streams):
        stream.added |= {str(config.name): config for config in configs}
    with translated():
        async with asyncio.timeout(WITHIN.total_seconds()):
            for config in configs:
                await _ensure(stream, config)


async def _ensure(stream: JetStreamContext, config: StreamConfig) -> None:
    """Create the stream, or change what this version of Swell sets; the operator's other choices stay.

    A cluster that elects a leader, or that has just lost a server, is asked again, until the caller's timeout.

    Raises:
        Unavailable: the cluster is too small for the replicas.
    """
    while True:
        try:
            try:
                await stream.add_stream(_replicated(stream, config))
            except BadRequestError:  # it exists with another configuration, or cannot have so many copies
                await _change(stream, config)
        except (ServiceUnavailableError, NatsTimeout) as error:
            log.warning("stream not ready yet", stream=config.name, error=str(error))
        except APIError as error:
            if error.err_code not in _TOO_SMALL or _replicas(stream) == 1:
                raise
            raise Unavailable(
                f"SWELL_NATS_REPLICAS is {_replicas(stream)}, and NATS has too few servers with JetStream for as many "
                f"copies of the stream {config.name}: {error.description}"
            ) from error
        else:
            return
        await asyncio.sleep(_PAUSE)


async def _change(stream: JetStreamContext, config: StreamConfig) -> None:
    """Set what *config* sets; never fewer copies: an older service must not undo what the operator has chosen."""
    existing = (await stream.stream_info(config.name or "")).config
    ours: dict[str, Any] = {name: value for name, value in vars(config).items() if value != getattr(_EMPTY, name)}
    replicas = max(existing.num_replicas or 1, _replicas(stream))
    if (changed := existing.evolve(**ours, num_replicas=replicas)) != existing:
        await stream.update_stream(changed)


async def _log_error(error: Exception) -> None:
    log.warning("nats error", error=repr(error))


async def _log_lost(client: Client) -> None:
    if not (client.is_closed or client.is_draining):  # it was closed on purpose
        log.warning("nats connection lost")


async def _restore(stream: JetStreamContext) -> None:
    """Create what the server may have lost before the connection was restored."""
    log.info("nats connection restored")
    try:
        await create_missing(stream)
    except Unavailable as error:  # the next message creates its stream
        log.warning("streams not created yet", error=str(error))
