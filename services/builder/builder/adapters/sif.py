"""SIF files: made of an image that an engine has built, and pushed as what `apptainer pull oras://…` expects.

Source: ORAS, "Artifact Manifest"; the media types are those of `singularity push`.
"""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import msgspec

from builder.adapters.process import Tail, run
from builder.adapters.registry import RegistryPush
from builder.adapters.room import Room
from builder.adapters.squash import Order
from builder.build import Recipe
from builder.domain.failure import BuildFailure, diagnose_sif
from builder.domain.sif import CONFIG_TYPE, FILE_NAME, LAYER_TYPE
from swell.disk import digest_of_file
from swell.jobs.messages import Definition
from swell.oci.digest import Digest, digest_of
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.store.records import Reason

SCHEME = "oras://"

_CONFIG = b"{}"

# The ids of the room, for whoever packs; and its limits, for all.
_ENTER = """\
set -e
for group in $CGROUPS; do echo 0 > "$group"; done
mount --bind subids /etc/subuid
mount --bind subids /etc/subgid
unset CGROUPS
exec "$@"
"""


class Sifs:
    """*limit* bytes are the most that the files of an image may have, and *memory* bytes what making a file may use."""

    def __init__(self, registry: RegistryPush, *, limit: int, memory: int) -> None:
        self._registry = registry
        self._limit = limit
        self._memory = memory

    async def push(self, room: Room, layout: Path, recipe: Recipe, tell: Tail) -> Digest:
        """Make a SIF file of the image in *layout*, which is in *room*, and push it as *recipe* says.

        Raises:
            BuildFailure: none can be made of it, or the registry does not take it.
        """
        if not shutil.which("mksquashfs"):
            raise BuildFailure(Reason.ENGINE, "No SIF files are made here: the operator must install squashfs-tools.")
        await tell(b"Making a SIF file of the image")
        made = await self._make(room, layout, recipe.sif or Definition(), tell)
        image = parse_reference(recipe.target_image.removeprefix(SCHEME))
        digest = await self._push(image, made)
        await tell(f"Pushed {SCHEME}{image}, {made.stat().st_size} bytes".encode())
        return digest

    async def _make(self, room: Room, layout: Path, definition: Definition, tell: Tail) -> Path:
        folder, target = room.path / "sif", room.path / FILE_NAME
        folder.mkdir(mode=0o700)
        os.chown(folder, room.user_id, room.user_id)
        order = Order(
            layout=str(layout),
            folder=str(folder),
            target=str(target),
            definition=definition,
            limit=self._limit,
            memory=self._memory,
            user_id=room.user_id,
        )
        (room.path / "sif.json").write_bytes(msgspec.json.encode(order))
        tell.lines.clear()
        status = await run(self._command(room), environment=_environment(room), directory=room.path, tell=tell)
        if status:
            raise diagnose_sif(status, tell.lines)
        return target

    def _command(self, room: Room) -> tuple[str, ...]:
        limits = ("prlimit", f"--as={self._memory}", f"--fsize={self._limit}", "--")
        program = (sys.executable, "-m", "builder.adapters.squash", str(room.path / "sif.json"))
        return ("sh", "-c", _ENTER, "sh", *limits, *program)

    async def _push(self, image: Reference, path: Path) -> Digest:
        digest = await asyncio.to_thread(digest_of_file, path)
        config = digest_of(_CONFIG)
        await self._registry.blob(image, config, _CONFIG)
        await self._registry.blob(image, digest, path)
        layer = {
            "mediaType": LAYER_TYPE,
            "digest": digest,
            "size": path.stat().st_size,
            "annotations": {"org.opencontainers.image.title": FILE_NAME},
        }
        fields = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": CONFIG_TYPE, "digest": config, "size": len(_CONFIG)},
            "layers": [layer],
        }
        return await self._registry.document(image, Document(OCI_MANIFEST, msgspec.json.encode(fields)))


def _environment(room: Room) -> dict[str, str]:
    groups = " ".join(str(group / "cgroup.procs") for group in room.groups)
    return {"PATH": os.environ.get("PATH", os.defpath), "CGROUPS": groups, "PYTHONUTF8": "1"}
