"""The sizes of the streams, and what each consumer has not handled yet, for the operator."""

import asyncio
from collections.abc import Iterator

from msgspec import Struct
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError

from swell.jobs.streams import STREAMS, translated

SECONDS = 5.0
MAX_CONSUMERS = 100


class StreamSize(Struct, frozen=True):
    """`messages` and `bytes` that a stream stores."""

    stream: str
    messages: int
    bytes: int


class ConsumerLag(Struct, frozen=True):
    """Messages that a durable consumer has not received (`pending`), and that it has not finished (`handled`)."""

    consumer: str
    pending: int
    handled: int


async def sizes(stream: JetStreamContext) -> tuple[list[StreamSize], list[ConsumerLag]]:
    """Return the sizes of all streams and the lags of their durable consumers, at most 100 a stream.

    Raises:
        Unavailable: the server does not answer within 5 s.
    """
    streams: list[StreamSize] = []
    consumers: list[ConsumerLag] = []
    with translated():
        async with asyncio.timeout(SECONDS):
            for name in _names():
                try:
                    state = (await stream.stream_info(name)).state
                    infos = await stream.consumers_info(name)
                except NotFoundError:  # it is created again at its next use
                    continue
                streams.append(StreamSize(name, state.messages, state.bytes))
                consumers += [
                    ConsumerLag(info.config.durable_name, info.num_pending or 0, info.num_ack_pending or 0)
                    for info in infos[:MAX_CONSUMERS]
                    if info.config and info.config.durable_name
                ]
    return streams, consumers


def _names() -> Iterator[str]:
    return (config.name for config in STREAMS if config.name)
