"""A Platform in memory, behind the transport of requests."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

from gateway.domain.platform import Platform
from gateway.platform.wire import PlatformAnswer, PlatformRequest
from tests.platform.state import PlatformState

ENDPOINT = "https://platform.example.org/api"
PLATFORM = Platform(endpoint=ENDPOINT, direct=True, roles=True)


class MemoryRecords:
    """Values by name, without encryption."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    async def get(self, name: str) -> bytes | None:
        return self.stored.get(name)

    async def put(self, name: str, value: bytes, lifetime: timedelta | None = None) -> None:
        self.stored[name] = value


class MemoryTransport:
    """Passes requests to *state*, as the stand-in does; *trouble*, if it is set, raises first."""

    def __init__(self, state: PlatformState) -> None:
        self.state = state
        self.trouble: Callable[[PlatformRequest], None] = lambda _: None

    async def send(self, platform: Platform, request: PlatformRequest) -> PlatformAnswer:
        self.trouble(request)
        url = request.url.removeprefix(platform.endpoint)
        status, body, headers = await self.state.answer("memory", request.method, url, request.auth, request.body)
        return PlatformAnswer(
            status=status, body=body, headers={name: tuple(values) for name, values in headers.items()}
        )


async def no_lock(_: str) -> AbstractAsyncContextManager[None]:
    @asynccontextmanager
    async def held() -> AsyncIterator[None]:
        yield

    return held()
