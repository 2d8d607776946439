"""Contexts are downloaded from the object store."""

from pathlib import Path

import pytest

from builder.adapters.inputs.stored_contexts import StoredContexts
from swell.errors import BlobUnknown
from swell.oci.digest import digest_of
from swell.store.blobs import Blobs
from swell.store.objects import MemoryObjects

CONTENT = b"x" * 100_000


async def test_a_download_leaves_no_file_when_its_process_is_killed(tmp_path: Path) -> None:
    """Nothing removes such files: each crash would cost the disk a context."""
    blobs = Blobs(MemoryObjects())
    await blobs.put(digest_of(CONTENT), CONTENT)
    async with StoredContexts(blobs, tmp_path / "contexts").fetch(digest_of(CONTENT)) as path:
        assert path.read_bytes() == CONTENT
        assert list((tmp_path / "contexts").iterdir()) == []
    assert not path.exists()


async def test_a_missing_context_is_an_error(tmp_path: Path) -> None:
    """The client has to send it again."""
    with pytest.raises(BlobUnknown):
        async with StoredContexts(Blobs(MemoryObjects()), tmp_path).fetch(digest_of(CONTENT)):
            pass
