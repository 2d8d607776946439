"""Packages are archives of strangers: what their zip files declare is bounded before `zipfile` reads it."""

import io
import zipfile
from pathlib import Path

import pytest
import zstandard

from builder.conda.archive import describe
from builder.conda.model.package import Malformed


def zip_of(path: Path, *names: str, content: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as parts:
        for name in names:
            parts.writestr(name, content)
    return path


def test_the_directory_of_a_zip_is_bounded(tmp_path: Path) -> None:
    """Each of its entries takes ten times its bytes of memory; a package of 1 GB took 10 GB."""
    archive = zip_of(tmp_path / "a-1-0.conda", "info-a.tar.zst", *map(str, range(25_000)))
    with pytest.raises(Malformed, match="too many parts"):
        describe(archive, limit=1 << 30)


def test_a_part_is_bounded_before_it_is_decompressed(tmp_path: Path) -> None:
    """Empty frames of zstd, compressed again, are 1,000 times smaller than what the builder has to read."""
    frames = zstandard.ZstdCompressor().compress(b"") * 100_000
    archive = zip_of(tmp_path / "a-1-0.conda", "info-a.tar.zst", content=frames)
    assert archive.stat().st_size < 10_000
    with pytest.raises(Malformed, match="too large"):
        describe(archive, limit=len(frames) - 1)
    with pytest.raises(Malformed, match="empty file"):
        describe(archive, limit=len(frames))


@pytest.mark.parametrize("content", [b"", b"PK", b"PK\5\6" + bytes(18), b"PK\5\6" + b"\xff" * 18])
def test_what_is_no_zip_is_refused(tmp_path: Path, content: bytes) -> None:
    """Also an end of a directory that is elsewhere."""
    archive = tmp_path / "a-1-0.conda"
    archive.write_bytes(io.BytesIO(content).getvalue())
    with pytest.raises(Malformed):
        describe(archive, limit=1 << 30)
