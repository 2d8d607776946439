"""Circuit breakers: a host or repository that fails repeatedly gets no requests for some seconds.

An HTTP response, such as 503, proves that the host works: it counts against the repository only, so one broken image
does not block its registry. A failed connection counts against the host. Timeouts and broken responses count against
both, but they open the circuit of the host only when they come from more than one repository.
"""

import math
import time
from collections.abc import Callable
from typing import ClassVar

from cachetools import LRUCache
from msgspec import Struct, field

from swell.errors import UpstreamDown

CIRCUITS = 10_000


class _Circuit(Struct):
    """Failures in a row of a host or a repository; `until` is when the next trial may start, on the breaker's clock.

    `sources` are repositories that failed, at most two: a host's circuit needs no more to be opened.
    """

    failures: int = 0
    rests: int = 0
    until: float = 0.0
    sources: set[str] = field(default_factory=set)

    @property
    def is_open(self) -> bool:
        return self.rests > 0


class CircuitBreaker:
    """Opens a circuit after five failures in a row, for 5 s; then one trial request may pass while others still get
    `UpstreamDown`. Each trial that fails doubles the time, up to 30 s. An answer closes the circuit.

    A repository whose own circuit is open never takes the host's trial. At most 10,000 hosts and as many repositories
    are remembered.
    """

    FAILURES: ClassVar[int] = 5
    REST: ClassVar[float] = 5
    LONGEST_REST: ClassVar[float] = 30

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._hosts: LRUCache[str, _Circuit] = LRUCache(CIRCUITS)
        self._repositories: LRUCache[tuple[str, str], _Circuit] = LRUCache(CIRCUITS)

    def check(self, host: str, repository: str = "") -> None:
        """Let a request to *host* for *repository* pass.

        Raises:
            UpstreamDown: the circuit of either is open; `retry_after` is the time until the next trial.
        """
        of_repository, of_host = self._repositories.get((host, repository)), self._hosts.get(host)
        self._check(of_host, f"{host} has not answered for a while")
        self._check(of_repository, f"{host} has failed several times in a row for {repository or 'this request'}")
        if of_repository and of_repository.is_open:
            self._open(of_repository)
        elif of_host and of_host.is_open:
            self._open(of_host)

    def unreachable(self, host: str) -> None:
        """No connection to *host* could be opened."""
        self._failed(self._hosts.setdefault(host, _Circuit()))

    def silent(self, host: str, repository: str = "") -> None:
        """*host* accepted the connection, but gave no answer in time, or none that can be read."""
        of_repository = self._repositories.setdefault((host, repository), _Circuit())
        if not of_repository.is_open:
            of_host = self._hosts.setdefault(host, _Circuit())
            if len(of_host.sources) < 2:
                of_host.sources.add(repository)
            self._failed(of_host, may_open=len(of_host.sources) > 1)
        self._failed(of_repository)

    def refused(self, host: str, repository: str = "") -> None:
        """*host* answered with a status that means that it cannot serve *repository* now."""
        self._hosts.pop(host, None)
        self._failed(self._repositories.setdefault((host, repository), _Circuit()))

    def answered(self, host: str, repository: str = "") -> None:
        """*host* answered as it should."""
        self._hosts.pop(host, None)
        self._repositories.pop((host, repository), None)

    def _check(self, circuit: _Circuit | None, message: str) -> None:
        if circuit and circuit.is_open and (left := circuit.until - self._now()) > 0:
            raise UpstreamDown(message, retry_after=math.ceil(left))

    def _failed(self, circuit: _Circuit, *, may_open: bool = True) -> None:
        circuit.failures += 1
        if may_open and circuit.failures >= self.FAILURES and not circuit.is_open:
            self._open(circuit)

    def _open(self, circuit: _Circuit) -> None:
        """Open *circuit*, or keep it open for others while one trial is made."""
        circuit.until = self._now() + min(self.REST * 2**circuit.rests, self.LONGEST_REST)
        circuit.rests = min(circuit.rests + 1, 10)
