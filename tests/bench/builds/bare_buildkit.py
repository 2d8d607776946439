"""The bare tool: `buildctl build --push` against a warm buildkitd, in the sandbox that the builder's daemons are in."""

import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec import Struct

from builder.buildkit.daemons import programs
from builder.buildkit.daemons.daemon import BUILDS, FOLDER_NAME, Daemon, open_daemon
from builder.settings import EngineSettings
from swell_sandbox import SCRATCH
from swell_sandbox.forwarding import forwarding
from tests.bench.process import CannotMeasure


class Buildctl(Struct, frozen=True):
    """Builds and pushes with *daemon* and the logins of *auth_file*."""

    daemon: Daemon
    auth_file: str

    async def prepare(self) -> None:
        """Start the process of the next buildctl in advance, as a builder does: it enters the daemon's namespaces."""
        self.daemon.prepare_client()
        if self.daemon.next_client:
            await self.daemon.next_client

    async def build_and_push(
        self,
        image: str,
        containerfile: str,
        context: Mapping[str, bytes] = {},
        options: Mapping[str, str] = {},
        annotations: Mapping[str, str] = {},
    ) -> bytes:
        """Run `buildctl build --push` with the files of *context*, *options* of the frontend, and *annotations*.

        Returns its output, in the plain form.

        Raises:
            CannotMeasure: it fails.
        """
        self.daemon.builds += 1
        name = f"bare-{self.daemon.builds}"
        directory = self.daemon.directory / BUILDS / name
        for part in ("context", "dockerfile"):
            (directory / part).mkdir(parents=True)
        (directory / "dockerfile/Dockerfile").write_text(containerfile)
        for file, content in context.items():
            (directory / "context" / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / "context" / file).write_bytes(content)
            os.utime(directory / "context" / file, (0, 0))
        folder = f"{SCRATCH}/{BUILDS}/{name}"
        annotated = "".join(f",annotation.{name}={value}" for name, value in annotations.items())
        rewrite = ",rewrite-timestamp=true" if "build-arg:SOURCE_DATE_EPOCH" in options else ""
        command = [
            *("build", "--progress=plain", "--frontend=dockerfile.v0"),
            *(f"--local=context={folder}/context", f"--local=dockerfile={folder}/dockerfile"),
            *(f"--opt={option}={value}" for option, value in options.items()),
            f"--output=type=image,name={image},push=true,oci-mediatypes=true{rewrite}{annotated}",
        ]
        async with self.daemon.client(command, logins_of(self.auth_file)) as client:
            output, _ = await client.communicate()
        if client.returncode:
            raise CannotMeasure(f"buildctl fails: {output.decode(errors='replace')[-500:]}")
        return output


@asynccontextmanager
async def open_buildctl(home: Path, registry: str, auth_file: str) -> AsyncIterator[Buildctl]:
    """A warm daemon below *home*, for the length of the block; it reaches *registry* on loopback.

    Raises:
        CannotMeasure: BuildKit is missing.
    """
    found = programs.find()
    if found is None:
        raise CannotMeasure("BuildKit is missing: run `make engine`")
    (home / FOLDER_NAME).mkdir(parents=True, exist_ok=True)
    host, _, port = registry.partition(":")
    address = ("127.0.0.1" if host == "localhost" else host, int(port))
    async with open_daemon(EngineSettings(workspace=home), found, limited=True) as daemon:
        listening = await daemon.listen([address])
        async with forwarding(dict(zip([address], listening, strict=True))):
            yield Buildctl(daemon, auth_file)


def logins_of(auth_file: str) -> bytes:
    """The logins of *auth_file* by whole registries, as Docker's programs read them."""
    auths = json.loads(Path(auth_file).read_bytes())["auths"]
    return json.dumps({"auths": {key.partition("/")[0]: entry for key, entry in auths.items()}}).encode()
