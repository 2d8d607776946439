"""Runs commands of an engine in the sandbox of a build."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack

from builder.adapters.workspace import as_build_failure
from builder.domain.failure import BuildFailure
from builder.engine import WriteLine
from swell.errors import DigestInvalid
from swell.oci.digest import Digest, parse_digest
from swell.store.records import Reason
from swell_sandbox import Mount, Sandbox
from swell_sandbox.process import read_lines
from swell_sandbox.two_outputs import TwoOutputs

_LONGEST_DIGEST = 200


async def execute(
    sandbox: Sandbox,
    command: Sequence[str],
    on_line: WriteLine,
    *,
    credentials: bytes | None = None,
    environment: Mapping[str, str] = {},
    mounts: tuple[Mount, ...] = (),
    on_error: WriteLine | None = None,
) -> int:
    """Run *command* in *sandbox* with the auth file *credentials* and return its exit status. See `Sandbox.run`.

    With *on_error*, it gets the lines of standard error, and *on_line* the others.

    Raises:
        BuildFailure: the machine cannot run it. Exceptions of *on_line* are passed on.
    """
    async with AsyncExitStack() as opened:
        with as_build_failure():
            outputs = opened.enter_context(TwoOutputs()) if on_error else None
            process = await opened.enter_async_context(
                sandbox.start(command, environment=environment, mounts=mounts, secret=credentials, outputs=outputs)
            )
        if outputs and on_error:
            await outputs.read_lines(on_line, on_error)
        else:
            await read_lines(process, on_line)
        return await process.wait()


def read_digest(sandbox: Sandbox, name: str) -> Digest:
    """Read the digest in the file *name* below `work`. The file is untrusted: a step may have replaced it.

    Raises:
        BuildFailure: the file is missing or is not a digest.
    """
    try:
        return parse_digest(sandbox.read(name, _LONGEST_DIGEST).decode())
    except (OSError, UnicodeDecodeError, DigestInvalid) as error:
        raise BuildFailure(Reason.ENGINE, f"The engine has not written {name}.") from error


async def drop(line: bytes) -> None:
    """Ignore *line*."""
