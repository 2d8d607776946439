"""Calls spread over several channels, each to the replicas behind one address.

Within a channel, gRPC spreads calls over all addresses of a DNS name; it has no resolver for several names.
Source: gRPC, "Wait for ready", https://grpc.io/docs/guides/wait-for-ready/
"""

from collections.abc import Sequence
from typing import Any

import grpc

_READY = grpc.ChannelConnectivity.READY
_FAILED = {grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN}


class Replicas:
    """As much of a channel as generated stubs and health checks use. A call goes to the next connected channel.

    No call waits for a connection: it fails with UNAVAILABLE, and the caller tries the next one.
    """

    def __init__(self, channels: Sequence[grpc.aio.Channel]) -> None:
        self._channels = channels
        self._turn = 0

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """As `grpc.aio.Channel.unary_unary`."""
        methods = [channel.unary_unary(*arguments, **options) for channel in self._channels]

        def call(request: Any, *, wait_for_ready: bool | None = None, **rest: Any) -> Any:  # noqa: ARG001
            return methods[self._next()](request, wait_for_ready=False, **rest)

        return call

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """As `grpc.aio.Channel.unary_stream`, on the first channel: stubs ask for it, and no service uses it."""
        return self._channels[0].unary_stream(*arguments, **options)

    def _next(self) -> int:
        """The next channel in turn that is connected; otherwise one that may connect."""
        count = len(self._channels)
        order = [(self._turn + step) % count for step in range(count)]
        states = {each: self._channels[each].get_state(try_to_connect=True) for each in order}
        usable = [each for each in order if states[each] is _READY] or [
            each for each in order if states[each] not in _FAILED
        ]
        chosen = (usable or order)[0]
        self._turn = chosen + 1
        return chosen
