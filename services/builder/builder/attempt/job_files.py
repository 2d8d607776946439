"""Download the files of a build job, its context and its layers, and read its secrets."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Protocol

from builder.domain.build_key import key_of
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from swell.build_spec import carry
from swell.errors import BlobUnknown
from swell.jobs.messages import BuildJob
from swell.oci.digest import Digest, hex_of
from swell.store.records import Reason


class Contexts(Protocol):
    def fetch(self, digest: Digest) -> AbstractAsyncContextManager[Path]:
        """Download the gzipped tar *digest* for the length of the block; raises `BlobUnknown`."""


class Secrets(Protocol):
    async def read(self, names: Mapping[str, str]) -> Mapping[str, bytes]:
        """Return the content of the secrets *names*, by the same keys; raises `BuildFailure` and `Unavailable`."""


async def fetch_recipe(
    job: BuildJob, contexts: Contexts, secrets: Secrets, downloads: AsyncExitStack
) -> Recipe | BuildFailure:
    """Return the recipe of *job* with its secrets, and its files, which are removed when *downloads* is closed.

    A failure is returned, because the log is not open yet.
    """
    try:
        return carry(
            job,
            Recipe,
            build_id=job.id,
            context=await _fetch(contexts, job.context, downloads) if job.context else None,
            files={f"layer-{hex_of(layer)}.tar.gz": await _fetch(contexts, layer, downloads) for layer in job.layers},
            sif=job.sif,
            key=key_of(job),
            secrets=await secrets.read(job.options.build_secrets),
        )
    except BuildFailure as failure:
        return failure


async def _fetch(contexts: Contexts, digest: Digest, downloads: AsyncExitStack) -> Path:
    try:
        return await downloads.enter_async_context(contexts.fetch(digest))
    except BlobUnknown as error:
        message = "The build context or a layer is no longer stored; send it again."
        raise BuildFailure(Reason.CONTEXT, message) from error
