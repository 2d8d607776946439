"""Hold the first status of a request while its new build runs, so that a short build is seen to end.

The `wave` CLI polls once after its request and then every 10 s: without this, a build of 1 s takes it 10 s. Nextflow
polls each second and sends a `fingerprint`; its requests are not held.
Source: wave-cli, https://github.com/seqeralabs/wave-cli (`App.groovy`, await)
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from cachetools import TTLCache

from gateway.domain.grant import Grant
from swell.api.containers import ContainerRecord

HOLD_SECONDS = 5.0
NEW = timedelta(seconds=10)
"""The age up to which a request is new; clients poll at once."""
MAX_HELD = 256  # responses at a time; further ones are sent at once
_MAX_SEEN = 20_000  # requests whose first status was read


class Requests(Protocol):
    async def record(self, token: str) -> ContainerRecord | None: ...


class BuildEnds(Protocol):
    async def wait_at_most(self, build_id: str, seconds: float) -> None:
        """Return when *build_id* has ended, or after *seconds*."""


class FirstStatus:
    """Counts the held responses, and remembers whose first status was read; each gateway for itself."""

    def __init__(
        self, requests: Requests, builds: BuildEnds, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._requests = requests
        self._builds = builds
        self._now = now
        self._seen: TTLCache[str, None] = TTLCache(_MAX_SEEN, 2 * NEW.total_seconds())
        self._held = 0

    async def hold(self, grant: Grant) -> bool:
        """Wait up to 5 s for the build of *grant*, if this is the first status of a new request; return whether it was.

        The build has not ended yet.
        """
        if grant.token in self._seen or self._now() - grant.created > NEW:
            return False
        self._seen[grant.token] = None
        if grant.build_id is None or self._held >= MAX_HELD:
            return False
        self._held += 1
        try:
            if (record := await self._requests.record(grant.token)) is None or record.fingerprint:
                return False
            await self._builds.wait_at_most(grant.build_id, HOLD_SECONDS)
        finally:
            self._held -= 1
        return True
