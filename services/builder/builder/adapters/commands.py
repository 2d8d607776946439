"""Commands of an engine in the sandbox of a build."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from builder.adapters.workspace import disk_trouble
from builder.build import Tell
from builder.domain.failure import BuildFailure
from swell.errors import DigestInvalid
from swell.oci.digest import Digest, parse_digest
from swell.store.records import Reason
from swell_sandbox import Mount, Sandbox
from swell_sandbox.process import read_lines

_LONGEST_DIGEST = 200


async def execute(
    sandbox: Sandbox,
    command: Sequence[str],
    on_line: Tell,
    *,
    credentials: bytes | None = None,
    environment: Mapping[str, str] = {},
    mounts: tuple[Mount, ...] = (),
) -> int:
    """Run *command* in *sandbox* with the auth file *credentials*; its exit status. See `Sandbox.run`.

    Raises:
        BuildFailure: the machine does not allow it. Exceptions of *on_line* are not changed.
    """
    async with AsyncExitStack() as opened:
        with disk_trouble():
            process = await opened.enter_async_context(
                sandbox.start(command, environment=environment, mounts=mounts, secret=credentials)
            )
        await read_lines(process, on_line)
        return await process.wait()


def read_digest(sandbox: Sandbox, name: str) -> Digest:
    """The digest in the file *name* below `work`, which a step may have replaced by anything.

    Raises:
        BuildFailure: the file is missing, or has no digest.
    """
    try:
        return parse_digest(sandbox.read(name, _LONGEST_DIGEST).decode())
    except (OSError, UnicodeDecodeError, DigestInvalid) as error:
        raise BuildFailure(Reason.ENGINE, f"The engine left no {name}.") from error


async def drop(line: bytes) -> None:
    """Ignore *line*."""
