"""A build's own folder, and work that is done at once in it."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from builder.adapters.workspace import as_build_failure
from builder.conda.model.package import Malformed
from builder.domain.failure import BuildFailure
from swell.disk import in_thread
from swell.store.records import Reason

T = TypeVar("T")


@asynccontextmanager
async def room(parent: Path, name: str) -> AsyncIterator[Path]:
    """A folder in *parent* for as long as the block runs."""
    path = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=parent))
    try:
        yield path
    finally:
        await in_thread(shutil.rmtree, path, ignore_errors=True)


@contextmanager
def explained(package: str = "") -> Iterator[None]:
    """Turn trouble with *package*, or with our own disk, into a build's failure."""
    try:
        with as_build_failure():
            yield
    except Malformed as error:
        what = f"The package {package} cannot be put" if package else "The packages cannot be put"
        raise BuildFailure(Reason.PACKAGE, f"{what} into an image: {error}.") from error


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of *works*, done at once; of several failures, the first is raised, when all have ended."""
    try:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(work) for work in works]
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from group
    return [task.result() for task in made]
