"""One build in a daemon: its files, the command line of buildctl, its result."""

import json
import os
import secrets
from asyncio.subprocess import Process
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

from msgspec import Struct, structs

from builder.adapters.build_context import add, unpack
from builder.adapters.workspace import as_build_failure
from builder.build import Recipe, WriteLine, WriteStep
from builder.buildkit.daemon import BUILDS, CREDENTIALS, Daemon
from builder.buildkit.progress import Progress
from builder.buildkit.push_gateway import REGISTRY
from builder.domain.failure import BuildFailure
from builder.settings import EngineSettings
from swell.api.builds import BuildStep
from swell.api.containers import CompressionMode
from swell.disk import in_thread
from swell.errors import DigestInvalid
from swell.jobs.messages import POST_FILE
from swell.oci.digest import Digest, parse_digest
from swell.oci.reference import Reference
from swell.store.records import Reason
from swell_sandbox import SCRATCH
from swell_sandbox.workspace import remove

TARGET = "push"
"""Below this folder is the repository that a build pushes to, in the push gateway."""
CACHE = f"cache-{secrets.token_hex(16)}"
"""As above, of its layer cache. It can be read there, so a container file must not be able to name it in an ADD."""

POLICY = "policy.json"
_FOLDERS = ("context", "dockerfile")
_CHUNK = 256 << 10
_LONGEST_DOCUMENT = 64 << 20
_METADATA_BYTES = 4 << 20


class Result(Struct, frozen=True):
    """How buildctl ended. `lines` are its last ones."""

    status: int
    lines: deque[bytes]


class BuildFiles:
    """The files of one build, in a folder of the daemon's directory."""

    def __init__(self, daemon: Daemon, build_id: str) -> None:
        name = f"{build_id}.{secrets.token_hex(4)}"
        self._owner = daemon.user_id
        self.path = daemon.directory / BUILDS / name
        self.seen = f"{SCRATCH}/{BUILDS}/{name}"
        """Where processes in the sandbox find it."""

    @classmethod
    @asynccontextmanager
    async def of(cls, daemon: Daemon, recipe: Recipe, settings: EngineSettings) -> AsyncIterator["BuildFiles"]:
        """The files of *recipe* for the length of the block.

        Raises:
            BuildFailure: the context cannot be unpacked, or the disk is full.
        """
        files = cls(daemon, recipe.build_id)
        try:
            with as_build_failure():
                await in_thread(files._write, recipe, settings)
            yield files
        finally:
            await in_thread(remove, files.path)

    def _write(self, recipe: Recipe, settings: EngineSettings) -> None:
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


def arguments(
    recipe: Recipe,
    files: BuildFiles,
    target: Reference,
    cache: Reference | None,
    *,
    proxies: Mapping[str, str],
    annotations: Mapping[str, str],
) -> list[str]:
    """The command line of `buildctl` for *recipe*.

    The option `cmdline` keeps BuildKit from looking for a syntax line. Cache mounts are each build's own: with one
    shared by builds, one user could change what another's steps find there. So are the names of its local folders:
    buildkitd keeps a copy by name, and does not fetch a file again whose size and time are the same, whatever it holds.
    `local-sessionid` puts what stands before its colon in front of a name, with a hyphen; no session is named there.
    BuildKit 0.34 does so each time it reads the name, which is twice for a folder, so all the names are given.
    Source: buildkit, source/local/source.go (`Identifier`, `snapshot`) and solver/llbsolver/policy.go.
    """
    own = secrets.token_hex(16)
    options = {
        **{f"local-sessionid:{name}": f"{own}:" for name in _FOLDERS},
        "platform": recipe.platform,
        "filename": "Dockerfile",
        "cmdline": "docker/dockerfile",
        "build-arg:BUILDKIT_CACHE_MOUNT_NS": secrets.token_hex(16),
        **{f"build-arg:{name}": value for name, value in (dict(proxies) | recipe.options.build_args).items()},
        **{f"label:{name}": value for name, value in recipe.options.labels.items()},
        **({"target": recipe.options.target} if recipe.options.target else {}),
    }
    command = [
        *("build", "--progress=rawjson", "--frontend=dockerfile.v0"),
        *(f"--local={f'{own}-' * times}{name}={files.seen}/{name}" for name in _FOLDERS for times in (1, 2, 3)),
        f"--source-policy-file={files.seen}/{POLICY}",
        f"--metadata-file={files.seen}/result/metadata.json",
        *(f"--opt={name}={value}" for name, value in options.items()),
        f"--output={_output(recipe, files, target, annotations)}",
    ]
    command += [f"--secret=id={name},src={CREDENTIALS}/{secret_file(name)}" for name in recipe.secrets]
    if cache:
        # Caches of different platforms are different tags of one repository.
        reference = f"{REGISTRY}/{CACHE}/{cache.repository}:swell-{recipe.platform.replace('/', '-')}"
        command += [
            f"--import-cache=type=registry,ref={reference}",
            f"--export-cache=type=registry,ref={reference},mode=max,ignore-error=true,oci-mediatypes=true,"
            "image-manifest=true",
        ]
    return command


def secret_file(name: str) -> str:
    """The file in `CREDENTIALS` of the secret with the id *name*."""
    return f"secret.{name}"


def pushed_name(target: Reference) -> str:
    """The name under which buildkitd pushes *target*."""
    return f"{REGISTRY}/{TARGET}/{target.repository}:{target.reference}"


def _output(recipe: Recipe, files: BuildFiles, target: Reference, annotations: Mapping[str, str]) -> str:
    if recipe.sif:
        return f"type=oci,dest={files.seen}/result/image,tar=false,compression=uncompressed,force-compression=true"
    fields = ["type=image", f"name={pushed_name(target)}", "push=true", "oci-mediatypes=true"]
    fields += [f"annotation.{name}={value}" for name, value in annotations.items()]
    if "SOURCE_DATE_EPOCH" in recipe.options.build_args:
        fields.append("rewrite-timestamp=true")
    if wanted := recipe.compression:
        fields.append(f"compression={wanted.mode or CompressionMode.GZIP}")
        if wanted.level is not None:
            fields.append(f"compression-level={wanted.level}")
        if wanted.force:
            fields.append("force-compression=true")
    return ",".join(fields)


async def follow(
    process: Process, progress: Progress, tell: WriteLine, write_step: WriteStep, names: Sequence[tuple[bytes, bytes]]
) -> Result:
    """Pass the progress of *process* to *tell* and *write_step* until it ends; *names* are replaced in it."""
    assert process.stdout is not None  # noqa: S101  (a pipe)
    last = deque[bytes](maxlen=50)

    def renamed(text: bytes) -> bytes:
        for written, meant in names:
            text = text.replace(written, meant)
        return text

    async def pass_on(item: bytes | BuildStep) -> None:
        if isinstance(item, BuildStep):
            name, error = (renamed(text.encode()).decode() for text in (item.name, item.error))
            await write_step(structs.replace(item, name=name, error=error))
        else:
            lines = renamed(item)
            last.extend(lines.split(b"\n")[-50:])
            await tell(lines)

    rest = b""
    while chunk := await process.stdout.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > _LONGEST_DOCUMENT:
            raise BuildFailure(Reason.ENGINE, "BuildKit reports more progress than can be read.")
        for document in whole:
            for item in progress.feed(document):
                await pass_on(item)
    for item in (*(progress.feed(rest) if rest else ()), *progress.end()):
        await pass_on(item)
    return Result(await process.wait(), last)
