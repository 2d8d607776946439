"""Build contexts: downloaded from the object store to the local disk."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from swell.oci.digest import Digest
from swell.store.blobs import Blobs


class StoredContexts:
    """See `builder.attempt.job_files.Contexts`; downloads are in *folder*."""

    def __init__(self, blobs: Blobs, folder: Path) -> None:
        self._blobs = blobs
        self._folder = folder

    def fetch(self, digest: Digest) -> AbstractAsyncContextManager[Path]:
        return self._blobs.download(digest, self._folder)
