"""The part that serves the pairing sockets of Seqera Platforms."""

from gateway.handlers.access.pairing import PairingHandler
from gateway.parts.platforms import PlatformParts
from gateway.parts.shared import Shared
from gateway.settings import Settings


def pairing_handler(settings: Settings, shared: Shared, platforms: PlatformParts) -> PairingHandler | None:
    """The handler of pairing sockets; None without a Platform that may open one."""
    if not any(each.secrets for each in platforms.platforms):
        return None
    return PairingHandler(
        platforms.platforms,
        platforms.pairings,
        platforms.sockets,
        shared.client_address,
        shared.guess_limiter,
        timeout=settings.platform_timeout,
        silence=settings.platform_silence,
    )
