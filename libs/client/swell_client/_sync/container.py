# Written by tools/sync_client.py from the module of the same name in _async. Do not edit it.
"""A container that was requested: wait for it, read its log, cancel it."""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING

from swell.api.builds import Cancellation, ContainerStatus
from swell.api.containers import ContainerAnswer
from swell_client.blocking import sleep
from swell_client.errors import BuildFailed, LogUnavailable, NotDone
from swell_client.events import Event, LogLine, Progress, Scanning, Waiting

if TYPE_CHECKING:
    from swell_client._sync.client import Client

_FIRST_POLL = 0.25
_LONGEST_POLL = 3.0


class Container:
    """The answer to a container request. `target_image` can be pulled at once; the pull waits for the build."""

    def __init__(self, client: "Client", answer: ContainerAnswer) -> None:
        self.answer = answer
        self._client = client

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.answer.request_id} build={self.build_id or None}>"

    @property
    def target_image(self) -> str:
        """The name to pull."""
        return self.answer.target_image

    @property
    def build_id(self) -> str:
        """The id of the build or mirror that makes the image; empty if the image exists."""
        return self.answer.build_id or ""

    def status(self) -> ContainerStatus:
        """The state of the image: BUILDING, SCANNING or DONE."""
        return self._client.container_status(self.answer.request_id)

    def wait(
        self,
        *,
        log: Callable[[str], object] | None = None,
        progress: Callable[[Progress], object] | None = None,
        timeout: float | None = None,
    ) -> str:
        """Wait until the image is ready, and return its name.

        *log* is called with each line of the build's log, *progress* with each event and place in the queue. *timeout*
        is in seconds.

        Raises:
            BuildFailed: the build or a required scan failed, or it was cancelled.
            NotDone: the time is over; the build continues.
        """
        if self.answer.succeeded is not None:
            return self._result(succeeded=self.answer.succeeded)
        deadline = None if timeout is None else monotonic() + timeout
        report = _reporter(log, progress)
        if report and self.build_id and not self.answer.cached:
            self._follow(report, deadline)
        status = self._poll(report, deadline, lambda status: status.status == "DONE")
        return self._result(succeeded=bool(status.succeeded), status=status)

    def events(self, after: str = "") -> Generator[Event]:
        """The events of the build's log behind the position *after*; the stream is resumed when it breaks."""
        return self._client.log_events(self.build_id, after)

    def logs(self) -> Iterator[str]:
        """The lines of the build's log, until the build ends."""
        for event in self.events():
            if isinstance(event, LogLine):
                yield event.text

    def cancel(self) -> Cancellation:
        """Leave the build. It stops when no other request needs it."""
        return self._client.cancel(self.build_id, request_id=self.answer.request_id)

    def lock(self) -> str:
        """The lock file of the build's packages, as text."""
        return self._client.lock(self.build_id)

    def _follow(self, report: Callable[[Progress], object], deadline: float | None) -> None:
        """Report the place in the queue, then the log. Without the log, the state is polled all the same."""
        self._poll(report, deadline, lambda status: status.queue_position is None)
        try:
            with closing(self.events()) as events:
                for event in events:
                    report(event)
                    if deadline is not None and monotonic() > deadline:
                        return
        except LogUnavailable:
            return

    def _poll(
        self,
        report: Callable[[Progress], object] | None,
        deadline: float | None,
        enough: Callable[[ContainerStatus], bool],
    ) -> ContainerStatus:
        wait, reported = _FIRST_POLL, None
        while True:
            status = self.status()
            if enough(status) or status.status == "DONE":
                return status
            if report and (state := _state(status)) not in {None, reported}:
                reported = state
                report(state)
            if deadline is not None and monotonic() + wait > deadline:
                raise NotDone(f"{self.target_image} is not ready; the build continues")
            sleep(wait)
            wait = min(wait * 1.5, _LONGEST_POLL)

    def _result(self, *, succeeded: bool, status: ContainerStatus | None = None) -> str:
        if not succeeded:
            raise BuildFailed((status and status.reason) or "", (status and status.details_uri) or "")
        return self.target_image


def _state(status: ContainerStatus) -> Waiting | Scanning | None:
    if status.queue_position is not None:
        return Waiting(status.queue_position)
    return Scanning() if status.status == "SCANNING" else None


def _reporter(
    log: Callable[[str], object] | None, progress: Callable[[Progress], object] | None
) -> Callable[[Progress], object] | None:
    if not log:
        return progress

    def report(event: Progress) -> None:
        if progress:
            progress(event)
        if isinstance(event, LogLine):
            log(event.text)

    return report
