"""Run the work of a build until it ends or the build is cancelled."""

import asyncio
from collections.abc import Coroutine
from typing import Any, Protocol

from builder.domain.failure import BuildFailure
from swell.oci.digest import Digest
from swell.store.records import Reason

CANCELLED = "The build was cancelled."


class Interest(Protocol):
    async def wait_until_cancelled(self, build_id: str) -> None:
        """Wait until *build_id* is cancelled, without a time limit."""


async def unless_cancelled(interest: Interest, build_id: str, work: Coroutine[Any, Any, Digest]) -> Digest:
    """Run *work* until it ends or *build_id* is cancelled; it has ended when this function returns.

    Raises:
        BuildFailure: the build is cancelled, or *work* fails.
    """
    cancelled = False
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(_result_or_error(work))

        async def watch() -> None:
            nonlocal cancelled
            await interest.wait_until_cancelled(build_id)
            cancelled = True
            task.cancel()

        watching = tasks.create_task(watch())
        task.add_done_callback(lambda _: watching.cancel())
    if task.cancelled():
        if cancelled:
            raise BuildFailure(Reason.CANCELLED, CANCELLED)
        raise asyncio.CancelledError
    result = task.result()
    if isinstance(result, Exception):
        raise result
    return result


async def _result_or_error(work: Coroutine[Any, Any, Digest]) -> Digest | Exception:
    try:
        return await work
    except Exception as error:  # noqa: BLE001  (raised again outside of the task group)
        return error
