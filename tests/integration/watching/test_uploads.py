"""Logs of builds whose object store is full or away: the build ends at once, and its log is stored later."""

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from builder.adapters.logs import uploads
from builder.adapters.logs.build_logs import BuildLogs
from builder.adapters.logs.uploads import Uploads
from gateway.adapters.builds.build_logs import BuildLogs as StoredLogs
from gateway.builds.first_status import FirstStatus
from gateway.builds.queries import BuildQueries
from swell.concurrency.background import background
from swell.errors import Unavailable
from swell.jobs.streams import Nats
from swell.store.builds.memory import MemoryBuilds
from swell.store.logs import STREAM, lock_key, log_key
from swell.store.objects import MemoryObjects
from swell.store.s3_objects import S3Objects, connect
from swell_embedded.stack import open_backends
from tests.integration.store.test_builds import OK, RECIPE
from tests.stores import LOGS, s3_of
from tests.unit.gateway.doubles import KnownEnds, MemoryGrants, MemoryImages, scan_status

T = TypeVar("T")
DISK = 160 << 20  # bytes; SeaweedFS needs some of it for its own files


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk at the place of S3's data, with a file `filler` that uses most of it."""
    if os.geteuid() != 0:
        pytest.skip("mounting a disk needs root")
    folder = tmp_path / "home" / "data" / "s3"
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
async def small_store(disk: Path) -> AsyncIterator[S3Objects]:
    async with (
        open_backends(disk.parents[1], ["s3"], environment={}) as stack,
        connect(s3_of(stack.env), LOGS) as objects,
    ):
        yield objects


def fill(disk: Path) -> Path:
    """Use all free space of *disk*; return the file to delete."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(bytes(1 << 20))
                file.flush()
        except OSError:
            return filler


async def test_a_full_store_delays_the_log_and_not_the_build(
    nats: Nats, small_store: S3Objects, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is in a file until the store has space again; meanwhile clients get the lines of the stream."""
    monkeypatch.setattr(uploads, "AGAIN", uploads.AGAIN / 20)
    builds = MemoryBuilds()
    build_id, _ = await builds.submit(RECIPE)
    logs = BuildLogs(nats.stream, small_store, tmp_path / "logs")
    filler = fill(disk)
    async with logs.open(build_id) as log:
        for _ in range(100):
            await log.write_line(os.urandom(10_000).hex().encode())
    await builds.finish(build_id, OK)
    assert await waiting(tmp_path) == [log_key(build_id)]
    stored = StoredLogs(small_store, nats.stream)
    queries = queries_of(builds, stored)
    content = (tmp_path / "logs" / "finished" / log_key(build_id)).read_bytes()

    assert b"".join([piece async for piece in await queries.build_log(build_id)]) == content
    async with background(logs.uploads.run()):
        filler.unlink()
        async with asyncio.timeout(60):
            while await waiting(tmp_path):  # noqa: ASYNC110 - the store frees its space in the background
                await asyncio.sleep(0.05)
    assert await small_store.get(log_key(build_id)) == content


def queries_of(builds: MemoryBuilds, logs: StoredLogs) -> BuildQueries:
    first_status = FirstStatus(MemoryGrants(), KnownEnds())
    return BuildQueries(
        MemoryGrants(), MemoryImages(), builds, logs, "https://swell.example.com", first_status, scan_status()
    )


async def waiting(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "logs" / "finished").iterdir())


class AwayObjects(MemoryObjects):
    """A store that is away while `is_away`."""

    is_away = True

    async def put_file(self, key: str, path: Path, media_type: str = "") -> None:
        self._check()
        await super().put_file(key, path, media_type)

    async def size(self, key: str) -> int | None:
        self._check()
        return await super().size(key)

    def _check(self) -> None:
        if self.is_away:
            raise Unavailable


async def test_logs_and_lock_files_that_wait_are_stored_by_the_next_process(nats: Nats, tmp_path: Path) -> None:
    """A builder may be killed while the store is away. The file of a build that it had not finished is removed."""
    objects = AwayObjects()
    first = BuildLogs(nats.stream, objects, tmp_path / "logs")
    async with first.open("bd-1_1") as log:
        await log.write_line(b"said")
        log.attach(lock_key("bd-1_1"), b"locked")
    unfinished = first.open("bd-2_1")
    await unfinished.__aenter__()
    assert await waiting(tmp_path) == [lock_key("bd-1_1"), log_key("bd-1_1")]
    objects.is_away = False

    second = BuildLogs(nats.stream, objects, tmp_path / "logs")
    async with background(second.uploads.run()), asyncio.timeout(30):
        while await waiting(tmp_path):  # noqa: ASYNC110 - stored by a background task
            await asyncio.sleep(0.01)

    assert await objects.get(log_key("bd-1_1")) == b"said\n"
    assert await objects.get(lock_key("bd-1_1")) == b"locked"
    assert not list((tmp_path / "logs").glob("*.log"))
    await unfinished.__aexit__(ValueError, ValueError(), None)


async def test_a_log_that_cannot_be_read_anywhere_is_an_error_and_not_empty(nats: Nats) -> None:
    """An empty log would be a lie: the store may have the lines that the stream has forgotten."""
    builds = MemoryBuilds()
    build_id, _ = await builds.submit(RECIPE)
    await builds.finish(build_id, OK)
    logs = StoredLogs(AwayObjects(), nats.stream)
    await nats.stream.purge_stream(STREAM)

    with pytest.raises(Unavailable):
        await queries_of(builds, logs).build_log(build_id)


async def test_files_that_wait_have_a_limit(tmp_path: Path) -> None:
    """The disk of the builder is for builds: the oldest logs go first."""
    waits = Uploads(AwayObjects(), tmp_path / "finished", limit=250)
    for number in range(4):
        path = tmp_path / "log"
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
        await waits.add(f"{number}.log", path)

    assert sorted(path.name for path in (tmp_path / "finished").iterdir()) == ["2.log", "3.log"]
