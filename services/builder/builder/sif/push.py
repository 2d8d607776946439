"""Convert a built image to a SIF file, and push it in the form that `apptainer pull oras://…` expects.

Source: ORAS, "OCI Artifact", https://oras.land/docs/concepts/artifact; the media types are those of `singularity push`.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import msgspec

import builder
import swell
from builder.adapters.commands import execute
from builder.adapters.workspace import as_build_failure
from builder.domain.failure import BuildFailure
from builder.engine import Recipe
from builder.sif.failures import diagnose_sif
from builder.sif.format import FILE_NAME
from builder.sif.layout import open_plain
from builder.sif.squash import Order
from swell.disk import digest_of_file
from swell.jobs.messages import Definition
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST, SIF_CONFIG, SIF_LAYER
from swell.oci.reference import Reference, parse_reference
from swell.registry.push import RegistryPush
from swell.store.records import Reason
from swell_sandbox import SCRATCH, Mount, Sandbox
from swell_sandbox.process import Tail

SCHEME = "oras://"

_CONFIG = b"{}"


class Sifs:
    """*limit* is the maximum size of an image's files, *memory* that of the conversion's memory, both in bytes."""

    def __init__(self, registry: RegistryPush, *, limit: int, memory: int) -> None:
        self._registry = registry
        self._limit = limit
        self._memory = memory

    async def push(self, sandbox: Sandbox, layout: str, recipe: Recipe, tail: Tail) -> Digest:
        """Convert the image in *layout*, a path in the directory of *sandbox*, to a SIF file, and push it.

        Raises:
            BuildFailure: none can be made of it, or the registry does not take it.
        """
        if not shutil.which("mksquashfs"):
            raise BuildFailure(Reason.ENGINE, "No SIF files are made here: the operator must install squashfs-tools.")
        await tail(b"Making a SIF file of the image")
        made = await self._make(sandbox, layout, recipe.sif or Definition(), tail)
        image = parse_reference(recipe.target_image.removeprefix(SCHEME))
        digest = await self._push(self._registry.acting_for(recipe.push_principal), image, made)
        await tail(f"Pushed {SCHEME}{image}, {made.stat().st_size} bytes".encode())
        return digest

    async def _make(self, sandbox: Sandbox, layout: str, definition: Definition, tail: Tail) -> Path:
        folder, target = sandbox.directory / "sif", sandbox.directory / FILE_NAME
        with as_build_failure():
            folder.mkdir(mode=0o700)
            os.chown(folder, sandbox.user_id, sandbox.user_id)
            order = Order(
                layout=f"{SCRATCH}/{layout}",
                folder=f"{SCRATCH}/sif",
                target=f"{SCRATCH}/sif/{FILE_NAME}",
                definition=definition,
                limit=self._limit,
                memory=self._memory,
            )
            (sandbox.directory / "sif.json").write_bytes(msgspec.json.encode(order))
        tail.lines.clear()
        status = await execute(sandbox, self._command(), tail, environment={"PYTHONUTF8": "1"}, mounts=_python())
        if status:
            raise diagnose_sif(status, tail.lines)
        with as_build_failure():
            open_plain(folder / FILE_NAME).close()
            (folder / FILE_NAME).rename(target)  # processes of the sandbox cannot reach it there
        return target

    def _command(self) -> tuple[str, ...]:
        limits = ("prlimit", f"--as={self._memory}", f"--fsize={self._limit}", "--")
        return (*limits, sys.executable, "-P", "-m", "builder.sif.squash", f"{SCRATCH}/sif.json")

    async def _push(self, registry: RegistryPush, image: Reference, path: Path) -> Digest:
        digest = await asyncio.to_thread(digest_of_file, path)
        config = digest_of(_CONFIG)
        await registry.blob(image, config, _CONFIG)
        await registry.blob(image, digest, path)
        layer = {
            "mediaType": SIF_LAYER,
            "digest": digest,
            "size": path.stat().st_size,
            "annotations": {"org.opencontainers.image.title": FILE_NAME},
        }
        fields = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": SIF_CONFIG, "digest": config, "size": len(_CONFIG)},
            "layers": [layer],
        }
        return await registry.document(image, Document(OCI_MANIFEST, msgspec.json.encode(fields)))


def _python() -> tuple[Mount, ...]:
    """Return the mounts for this Python and its packages, at the same paths."""
    packages = (Path(module.__path__[0]) for module in (builder, swell))
    paths = {Path("/usr"), Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable), *packages}
    outer = {path for path in paths if not any(path.is_relative_to(other) for other in paths - {path})}
    return tuple(Mount(path, str(path)) for path in sorted(outer - {Path("/usr")}))
