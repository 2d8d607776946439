"""The output of one `buildctl build`: lines of its log, and steps."""

from asyncio.subprocess import Process
from collections import deque
from collections.abc import Sequence

from msgspec import Struct, structs

from builder.buildkit.progress import Progress
from builder.domain.failure import BuildFailure
from builder.engine import WriteLine, WriteStep
from swell.api.builds import BuildStep
from swell.store.records import Reason

_CHUNK = 256 << 10
_LONGEST_DOCUMENT = 64 << 20


class Result(Struct, frozen=True):
    """How buildctl ended. `lines` are its last ones."""

    status: int
    lines: deque[bytes]


async def follow(
    process: Process,
    progress: Progress,
    write_line: WriteLine,
    write_step: WriteStep,
    names: Sequence[tuple[bytes, bytes]],
) -> Result:
    """Pass the progress of *process* to *write_line* and *write_step* until it ends; *names* are replaced in it."""
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
            await write_line(lines)

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
