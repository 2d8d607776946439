"""The scratch folder of a build, and concurrent work in it."""

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
    """Create a folder in *parent* for the length of the block."""
    path = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=parent))
    try:
        yield path
    finally:
        await in_thread(shutil.rmtree, path, ignore_errors=True)


@contextmanager
def explained(package: str = "") -> Iterator[None]:
    """Turn errors of *package* or of the local disk into a `BuildFailure`."""
    try:
        with as_build_failure():
            yield
    except Malformed as error:
        what = f"The package {package} cannot be added" if package else "The packages cannot be added"
        raise BuildFailure(Reason.PACKAGE, f"{what} to an image: {error}.") from error


async def together(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run *works* concurrently and return their results; after all have ended, raise the first error if any."""
    try:
        async with asyncio.TaskGroup() as tasks:
            made = [tasks.create_task(work) for work in works]
    except BaseExceptionGroup as group:
        failure: BaseException = group
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure from group
    return [task.result() for task in made]
