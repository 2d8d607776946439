"""The disk spool is bounded, and files of crashed processes are removed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from registry_proxy.adapters.spool import Spool, SpoolFile, open_spool
from registry_proxy.domain.ranges import Span
from swell.errors import SpoolFull
from swell.oci.digest import digest_of

CONTENT = b"0123456789"


def written(spool: Spool, content: bytes = CONTENT) -> SpoolFile:
    """*content* as a whole file of *spool*."""
    file = spool.new("r", digest_of(content), len(content))
    assert file
    with file.opened():
        file.reserve(len(content))
        file.write(content)
    file.cache()
    return file


def taken(folder: Path) -> int:
    """The bytes of blobs below *folder*."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.name.isdigit())


def test_what_was_written_can_be_read_in_parts(tmp_path: Path) -> None:
    """Readers follow a transfer extent by extent."""
    with open_spool(tmp_path, 100) as spool:
        file = written(spool)
        with file.opened():
            extent = file.extent(Span(2, 5))
            assert os.pread(extent.descriptor, extent.stop - extent.start, extent.start) == b"234"
        assert spool.find("r", digest_of(CONTENT)) is file


def test_the_longest_unused_goes_first(tmp_path: Path) -> None:
    """There is room for two: using one keeps it."""
    with open_spool(tmp_path, 25) as spool:
        contents = [CONTENT, CONTENT[::-1], CONTENT.upper() + b"!"]
        written(spool, contents[0])
        written(spool, contents[1])
        spool.find("r", digest_of(contents[0]))
        written(spool, contents[2])

        found = [spool.find("r", digest_of(content)) is not None for content in contents]

        assert found == [True, False, True]
        assert taken(tmp_path) <= 25


def test_a_file_with_readers_keeps_its_space(tmp_path: Path) -> None:
    """Otherwise the bytes of a slow reader's file would not be counted."""
    with open_spool(tmp_path, 15) as spool:
        with written(spool).opened():
            other = spool.new("r", digest_of(b"another"), 7)
            assert other
            with pytest.raises(SpoolFull):
                other.reserve(7)
        other.reserve(7)


def test_a_declared_size_occupies_nothing(tmp_path: Path) -> None:
    """A manifest may claim any size, and its registry may send nothing: room is given as bytes arrive."""
    with open_spool(tmp_path, 64 << 20) as spool:
        claims = [spool.new("r", digest_of(bytes([number])), 64 << 20) for number in range(10)]
        assert all(claims)
        with written(spool, CONTENT).opened():
            assert spool.find("r", digest_of(CONTENT))


class Idle:
    """A transfer without readers."""

    def __init__(self, readers: int = 0) -> None:
        self.readers = readers
        self.is_evicted = False

    def evict(self) -> None:
        self.is_evicted = True


def test_transfers_without_readers_are_evicted_for_others(tmp_path: Path) -> None:
    """A client that has left may come back, but it does not hold up one that is there."""
    with open_spool(tmp_path, 20) as spool:
        idle, read = spool.new("r", digest_of(b"a"), 10), spool.new("r", digest_of(b"b"), 10)
        assert idle and read
        idle.owner, read.owner = Idle(), Idle(readers=1)

        file = written(spool)

        assert (idle.owner.is_evicted, read.owner.is_evicted) == (True, False)
        assert file.reserved == 10


def test_registries_do_not_share_files(tmp_path: Path) -> None:
    """Another registry that names the digest has not shown that it has the bytes."""
    with open_spool(tmp_path, 100) as spool:
        written(spool)

        assert spool.find("other", digest_of(CONTENT)) is None


def test_what_can_never_fit_is_refused_and_costs_nothing(tmp_path: Path) -> None:
    """A manifest may claim any size."""
    with open_spool(tmp_path, 15) as spool:
        written(spool)

        assert spool.new("r", digest_of(b"huge"), 1 << 50) is None
        assert spool.find("r", digest_of(CONTENT))


def test_a_failed_transfer_leaves_nothing(tmp_path: Path) -> None:
    """A failed transfer frees its disk space."""
    with open_spool(tmp_path, 15) as spool:
        file = spool.new("r", digest_of(CONTENT), 10)
        assert file
        with file.opened():
            file.reserve(3)
            file.write(b"012")
            file.drop()

        assert taken(tmp_path) == 0
        assert spool.new("r", digest_of(CONTENT), 15)


def test_a_spool_ends_with_its_process(tmp_path: Path) -> None:
    """A clean shutdown removes the folder."""
    with open_spool(tmp_path, 100) as spool:
        written(spool)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lives", [False, True])
def test_only_what_the_dead_left_is_removed(tmp_path: Path, lives: bool) -> None:
    """Two replicas of one machine share the folder; a killed one cannot tidy up."""
    program = (
        "import sys, time; from pathlib import Path; from registry_proxy.adapters.spool import open_spool\n"
        "from swell.oci.digest import digest_of\n"
        f"with open_spool(Path({str(tmp_path)!r}), 100) as spool:\n"
        "    file = spool.new('r', digest_of(b'x'), 1)\n"
        "    with file.opened(): file.reserve(1), file.write(b'x')\n"
        "    print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=os.environ) as other:
        assert other.stdout and other.stdout.readline() == b"ready\n"
        if not lives:
            other.kill()
            other.wait()
        with open_spool(tmp_path, 100):
            assert taken(tmp_path) == int(lives)
        other.kill()
