"""The bare tool: buildah as somebody with a shell would use it, with a store of its own that stays warm."""

import shutil
import tarfile
from pathlib import Path

from msgspec import Struct

from tests.bench.process import CannotMeasure, run

# The storage driver and the isolation that our builder uses, so that only what is around them differs.
_ISOLATION = ("--isolation=rootless", "--runtime=runc", "--network=private")


class Buildah(Struct, frozen=True, kw_only=True):
    """Builds below *home*, and pushes to a plain HTTP registry with the credentials in *auth_file*."""

    home: Path
    auth_file: str

    @property
    def context(self) -> Path:
        return self.home / "context"

    async def build_and_push(self, image: str, containerfile: str) -> None:
        """`buildah build && buildah push`; the files in `context` are at hand.

        Raises:
            CannotMeasure: one of the two fails.
        """
        (self.home / "Containerfile").write_text(containerfile)
        files = (f"--file={self.home / 'Containerfile'}", str(self.context))
        access = ("--tls-verify=false", f"--authfile={self.auth_file}")
        await self._buildah("build", *access, "--format=docker", *_ISOLATION, f"--tag={image}", *files)
        await self._buildah("push", *access, image, f"docker://{image}")

    async def push_base(self, image: str) -> None:
        """Make *image* of this machine's static busybox, push it, and keep it warm here."""
        busybox = shutil.which("busybox")
        if busybox is None:
            raise CannotMeasure("there is no busybox to make a base image of (Debian: busybox-static)")
        self.context.mkdir(parents=True)
        with tarfile.open(self.context / "rootfs.tar", "w") as rootfs:
            rootfs.add(busybox, "bin/busybox")
            shell = tarfile.TarInfo("bin/sh")
            shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
            rootfs.addfile(shell)
        await self.build_and_push(image, "FROM scratch\nADD rootfs.tar /\nENV PATH=/bin\n")
        (self.context / "rootfs.tar").unlink()

    async def _buildah(self, *arguments: str) -> None:
        store = (f"--root={self.home / 'store'}", f"--runroot={self.home / 'run'}", "--storage-driver=overlay")
        await run("buildah", *store, *arguments)
