"""Events of pulls that NATS has not confirmed yet, in files, for the time when Redis does not answer either."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from gateway.adapters.counters import pull_journal
from gateway.adapters.counters.pull_counter import Journal
from swell.disk import in_thread
from swell.errors import Unavailable
from swell.jobs.messages import ImagesPulled
from swell.log import log

MOST = 10_000  # files


class LocalJournal:
    """Adds a *folder* of this machine, which gateways may share, to *journal*: one file for each event.

    The next process with the folder publishes the events of one that was killed. An event that cannot be written is in
    *journal* only.
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._folder = folder
        self._journal = journal

    async def add(self, events: Sequence[ImagesPulled]) -> None:
        """Store *events* until they are removed; raises `Unavailable` if neither the folder nor Redis accepts them."""
        is_written = await in_thread(self._write, events)
        try:
            await self._journal.add(events)
        except Unavailable:
            if not is_written:
                raise

    async def remove(self, event: ImagesPulled) -> None:
        """Remove *event*, which is published; raises `Unavailable`."""
        with suppress(OSError):
            self._file(event).unlink()
        await self._journal.remove(event)

    async def left(self) -> list[ImagesPulled]:
        """Return events that were stored more than a minute ago, at most 100 of the folder and 100 of Redis."""
        events = await in_thread(self._read)
        try:
            return [*events, *await self._journal.left()]
        except Unavailable:
            if not events:
                raise
            return events

    def _write(self, events: Sequence[ImagesPulled]) -> bool:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if len(list(self._folder.iterdir())) + len(events) > MOST:
                return False
            for event in events:
                unfinished = self._file(event).with_suffix(".new")
                unfinished.write_bytes(msgspec.json.encode(event))
                unfinished.rename(self._file(event))
        except OSError as error:
            log.warning("pull counts cannot be written to the journal", error=str(error))
            return False
        return True

    def _read(self) -> list[ImagesPulled]:
        until, events = time.time() - pull_journal.LEFT.total_seconds(), list[ImagesPulled]()
        for path in sorted(self._folder.glob("*.json"))[: pull_journal.MOST]:
            with suppress(OSError, msgspec.DecodeError):
                if path.stat().st_mtime <= until:
                    events.append(msgspec.json.decode(path.read_bytes(), type=ImagesPulled))
        return events

    def _file(self, event: ImagesPulled) -> Path:
        return self._folder / f"{event.id}.json"
