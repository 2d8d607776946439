"""The requests to a Seqera Platform and its answers, as every transport sends them."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from gateway.domain.platform import Platform

MAX_BODY = 768 << 10
"""Bytes of an answer; its message must fit into one of NATS, of 1 MiB."""
MAX_HEADERS = 64 << 10


class PlatformRequest(Struct, frozen=True, kw_only=True):
    """An HTTP request to Platform: `url` is absolute; `auth` is the header `Authorization`, if any."""

    method: str
    url: str
    auth: str | None = None
    body: str | None = None
    headers: Mapping[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"PlatformRequest({self.method!r}, {self.url.partition('?')[0]!r})"


class PlatformAnswer(Struct, frozen=True, kw_only=True):
    """The answer of Platform, with lower-case names of headers."""

    status: int
    body: str = ""
    headers: Mapping[str, tuple[str, ...]] = {}

    def __repr__(self) -> str:
        return f"PlatformAnswer({self.status})"


class Transport(Protocol):
    async def send(self, platform: Platform, request: PlatformRequest) -> PlatformAnswer:
        """Send *request* to *platform* and return its answer.

        Raises:
            EndpointUnpaired: the Platform has never been paired with this server.
            Unavailable: it cannot be reached at the moment.
            PlatformSlow: it does not answer in time.
            PlatformFailed: its answer is malformed or too large.
        """
