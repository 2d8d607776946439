"""The files of one build: its context, container file, source policy and result."""

import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

from builder.adapters.inputs.build_context import add, unpack
from builder.adapters.workspace import as_build_failure
from builder.buildkit.daemons.daemon import BUILDS
from builder.buildkit.daemons.pool import Lease
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.settings import EngineSettings
from swell.disk import in_thread
from swell.errors import DigestInvalid
from swell.jobs.messages import POST_FILE
from swell.oci.digest import Digest, parse_digest
from swell.store.records import Reason
from swell_sandbox import SCRATCH
from swell_sandbox.workspace import remove

POLICY = "policy.json"
_METADATA_BYTES = 4 << 20


class BuildFiles:
    """The files of one build, in a folder of *directory*, which buildctl sees at *root*; they belong to *owner*."""

    def __init__(self, directory: Path, root: str, build_id: str, owner: int) -> None:
        name = f"{build_id}.{secrets.token_hex(4)}"
        self._owner = owner
        self.path = directory / BUILDS / name
        self.seen = f"{root}/{BUILDS}/{name}"
        """Where buildctl finds it."""

    @classmethod
    @asynccontextmanager
    async def of(
        cls, lease: Lease, recipe: Recipe, settings: EngineSettings, policy: bytes = b""
    ) -> AsyncIterator["BuildFiles"]:
        """The files of *recipe* and its source *policy* for the length of the block.

        They are removed after the lease, without a wait.

        Raises:
            BuildFailure: the context cannot be unpacked, or the disk is full.
        """
        daemon = lease.daemon
        files = cls(daemon.directory, SCRATCH, recipe.build_id, daemon.user_id)
        lease.discard(files.path)
        with as_build_failure():
            await in_thread(files._write, recipe, settings, policy)
        yield files

    @classmethod
    @asynccontextmanager
    async def below(
        cls, directory: Path, root: str, recipe: Recipe, settings: EngineSettings, owner: int, policy: bytes = b""
    ) -> AsyncIterator["BuildFiles"]:
        """As `of`, for buildctl outside of a sandbox."""
        files = cls(directory, root, recipe.build_id, owner)
        try:
            with as_build_failure():
                await in_thread(files._write, recipe, settings, policy)
            yield files
        finally:
            await in_thread(remove, files.path)

    def _write(self, recipe: Recipe, settings: EngineSettings, policy: bytes) -> None:
        self.path.mkdir(mode=0o711)
        for name in ("context", "dockerfile", "result"):
            (self.path / name).mkdir(mode=0o755)
            os.chown(self.path / name, self._owner, self._owner)
        context = self.path / "context"
        if recipe.context:
            unpack(recipe.context, context, limit=settings.context_limit, owner=self._owner)
        added = list[str]()
        if recipe.environment is not None:
            add(context / "conda.yml", BytesIO(recipe.environment.encode()), owner=self._owner)
            added.append("conda.yml")
        if recipe.sif and recipe.sif.post:
            add(context / POST_FILE, BytesIO(recipe.sif.post.encode()), owner=self._owner)
            added.append(POST_FILE)
        for name, path in recipe.files.items():
            with path.open("rb") as source:
                add(context / name, source, owner=self._owner)
            added.append(name)
        (self.path / "dockerfile/Dockerfile").write_text(recipe.containerfile)
        (self.path / POLICY).write_bytes(policy)
        if added and (ignored := _ignore_file(context)) is not None:
            # What the server has added must not be left out by the user's patterns.
            kept = b"".join(b"\n!%s" % name.encode() for name in added)
            (self.path / "dockerfile/Dockerfile.dockerignore").write_bytes(ignored + kept + b"\n")

    def digest(self) -> Digest:
        """The digest of the manifest that BuildKit says it has pushed.

        Raises:
            BuildFailure: it does not say any.
        """
        try:
            metadata = json.loads(self.read("result/metadata.json", _METADATA_BYTES))
            return parse_digest(metadata["containerimage.digest"])
        except (OSError, ValueError, KeyError, TypeError, DigestInvalid) as error:
            raise BuildFailure(Reason.ENGINE, "BuildKit does not say what it has pushed.") from error

    def read(self, name: str, limit: int) -> bytes:
        """The first *limit* bytes of the file *name*; raises `OSError` if it is missing or not a regular file."""
        file = os.open(self.path / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as opened:
            return opened.read(limit)


def _ignore_file(context: Path) -> bytes | None:
    try:
        file = os.open(context / ".dockerignore", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(file, "rb") as opened:
            return opened.read(1 << 20)
    except OSError:
        return None
