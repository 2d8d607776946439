"""The output of one `buildctl build`: lines of its log, and steps."""

from asyncio.subprocess import Process
from collections import deque
from collections.abc import Callable, Sequence

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
    is_pushed: Callable[[], bool] = lambda: False,
) -> Result:
    """Pass the progress of *process* to *write_line* and *write_step*; *names* are replaced in it.

    Return when *process* ends, or when *is_pushed* says that the registry has everything, and all steps have ended:
    then only buildctl and buildkitd have something to put away.
    """
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
        if is_pushed() and not rest and progress.running is None:
            return Result(0, last)
    for item in (*(progress.feed(rest) if rest else ()), *progress.end()):
        await pass_on(item)
    return Result(await process.wait(), last)
