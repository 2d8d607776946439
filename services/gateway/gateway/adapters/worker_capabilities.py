"""Which platforms builders run, as they tell it."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic

from swell.oci.platform import Platform
from swell.store.worker_capabilities import WorkerCapabilities

BELIEVED = timedelta(seconds=30)


class CachedCapabilities:
    """That somebody runs an architecture is believed for a while, so that hardly anybody waits for the question; that
    nobody does is asked again each time, for it is told to a client."""

    def __init__(
        self, machines: WorkerCapabilities, believed: timedelta = BELIEVED, clock: Callable[[], float] = monotonic
    ) -> None:
        self._machines = machines
        self._believed = believed.total_seconds()
        self._clock = clock
        self._runs: dict[str, float] = {}  # architectures, which are few, and until when it is believed

    async def lacking(self, platform: Platform) -> Sequence[str]:
        """See `gateway.submit.start.WorkerCapabilities.lacking`."""
        architecture = platform.architecture
        if self._runs.get(architecture, 0) > self._clock():
            return ()
        told = await self._machines.all()
        lacking = {each[architecture] for each in told if architecture in each}
        if told and all(architecture in each for each in told):
            return sorted(lacking)
        if told:
            self._runs[architecture] = self._clock() + self._believed
        return ()
