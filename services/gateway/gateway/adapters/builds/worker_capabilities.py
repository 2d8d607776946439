"""Which platforms the builders support, as they publish it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic

from swell.oci.platform import Platform
from swell.store.workers.capabilities import WorkerCapabilities

CACHE_TTL = timedelta(seconds=30)


class CachedCapabilities:
    """Caches only supported architectures: a client that gets an error must see the current state."""

    def __init__(
        self,
        capabilities: WorkerCapabilities,
        cache_ttl: timedelta = CACHE_TTL,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._capabilities = capabilities
        self._cache_ttl = cache_ttl.total_seconds()
        self._clock = clock
        self._supported: dict[str, float] = {}  # architecture -> expiry; there are few architectures

    async def missing(self, platform: Platform) -> Sequence[str]:
        """See `gateway.submit.builds.start.WorkerCapabilities.missing`."""
        architecture = platform.architecture
        if self._supported.get(architecture, 0) > self._clock():
            return ()
        builders = await self._capabilities.all()
        missing = {builder[architecture] for builder in builders if architecture in builder}
        if builders and all(architecture in builder for builder in builders):
            return sorted(missing)
        if builders:
            self._supported[architecture] = self._clock() + self._cache_ttl
        return ()
