"""The bare tool: buildah as it is used in a shell, with a warm store of its own."""

import shutil
import tarfile
from pathlib import Path

from msgspec import Struct

from tests.bench.process import CannotMeasure, run

# The storage driver and the isolation of Swell's builder, so the comparison shows only Swell's own cost.
_ISOLATION = ("--isolation=rootless", "--runtime=runc", "--network=private")


class Buildah(Struct, frozen=True, kw_only=True):
    """Builds below *home*, and pushes to a plain HTTP registry with the credentials in *auth_file*."""

    home: Path
    auth_file: str

    @property
    def context(self) -> Path:
        return self.home / "context"

    async def build_and_push(self, image: str, containerfile: str) -> None:
        """Run `buildah build` and `buildah push`; `context` has the files.

        Raises:
            CannotMeasure: a command failed.
        """
        (self.home / "Containerfile").write_text(containerfile)
        files = (f"--file={self.home / 'Containerfile'}", str(self.context))
        access = ("--tls-verify=false", f"--authfile={self.auth_file}")
        await self._buildah("build", *access, "--format=docker", *_ISOLATION, f"--tag={image}", *files)
        await self._buildah("push", *access, image, f"docker://{image}")

    async def push_base(self, image: str) -> None:
        """Make *image* from this machine's static busybox, push it, and leave it in the store."""
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
