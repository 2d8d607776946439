"""Dispatching builds: the share of a client, and jobs that were lost."""

import asyncio
from datetime import timedelta

import pytest

from gateway.domain.access.identity import Caller, Identity
from gateway.submit.builds import dispatch
from gateway.submit.builds.dispatch import Dispatcher
from gateway.submit.submit import ContainerRequests
from swell.errors import Unavailable
from swell.jobs.messages import BuildJob, IndexJob
from swell.store.builds.memory import MemoryBuilds
from tests.unit.gateway.doubles import CALLER, CountedBuilds, MemoryGrants, MemoryQueue, ended
from tests.unit.gateway.submit.test_submit import RECIPE, recipe


async def test_a_job_that_was_not_published_is_published_later(
    container_requests: ContainerRequests, dispatcher: Dispatcher, builds: MemoryBuilds, queue: MemoryQueue
) -> None:
    """A gateway may crash between storing a build and publishing its job; another gateway publishes it."""
    await container_requests.submit(RECIPE, CALLER)
    build = await builds.get("bd-c44968632f89dd6c_1")
    assert build
    orphan, _ = await builds.submit(build.submission, instead_of=build.id)
    assert await builds.release(build.submission.client, 8) == [orphan]
    builds.set_age(orphan, timedelta(minutes=1))

    assert await dispatcher.republish_lost() == 1
    assert await dispatcher.republish_lost() == 0
    assert [job.id for job in queue.jobs] == ["bd-c44968632f89dd6c_1", orphan]


async def test_a_job_that_the_queue_lost_is_published_again(
    container_requests: ContainerRequests, dispatcher: Dispatcher, builds: MemoryBuilds, queue: MemoryQueue
) -> None:
    """Disks fail. A job that waits in the queue, however long, is not published again."""
    await container_requests.submit(RECIPE, CALLER)
    builds.set_age("bd-c44968632f89dd6c_1", timedelta(minutes=10))
    assert await dispatcher.republish_lost() == 0

    lost = queue.jobs.pop()

    assert await dispatcher.republish_lost() == 1
    assert queue.jobs == [lost]


async def test_a_client_waits_while_its_share_is_in_progress(
    container_requests: ContainerRequests, dispatcher: Dispatcher, builds: MemoryBuilds, queue: MemoryQueue
) -> None:
    """The next build is dispatched when one ends; the builds of another client need not wait for it."""
    for number in range(9):
        await container_requests.submit(recipe(number), CALLER)
    await container_requests.submit(recipe(9), Caller(Identity(user="ada"), CALLER.address))
    ninth = queue.jobs[-1].id
    assert len(queue.jobs) == 8 + 1

    await dispatcher.dispatch()
    assert len(queue.jobs) == 9
    await builds.finish(queue.jobs[0].id, ended(succeeded=True))
    await dispatcher.dispatch()

    assert len({job.id for job in queue.jobs}) == 10
    assert ninth != queue.jobs[-1].id


async def test_after_a_loss_of_the_queue_all_jobs_are_published_again(
    container_requests: ContainerRequests, dispatcher: Dispatcher, builds: MemoryBuilds, queue: MemoryQueue
) -> None:
    """The message server may be restarted with an empty disk; a build that has ended has no job."""
    for number in range(3):
        await container_requests.submit(recipe(number), CALLER)
    published, queue.jobs = queue.jobs, []
    await builds.finish(published[0].id, ended(succeeded=True))
    for job in published:
        builds.set_age(job.id, timedelta(seconds=6))
    assert await dispatcher.republish_lost() == 0
    queue.is_lost = True

    assert await dispatcher.republish_lost() == 2
    assert await dispatcher.republish_lost() == 0
    assert queue.jobs == published[1:]


async def test_a_request_is_accepted_while_the_queue_is_away_and_built_once_afterwards(
    container_requests: ContainerRequests, dispatcher: Dispatcher, builds: MemoryBuilds, queue: MemoryQueue
) -> None:
    """The build is stored before its job is published, so 503 would be wrong: it will be built."""
    queue.is_away = True
    answer = await container_requests.submit(RECIPE, CALLER)
    assert answer.build_id
    queue.is_away = False
    builds.set_age(answer.build_id, timedelta(seconds=6))

    assert await dispatcher.republish_lost() == 1
    assert await dispatcher.republish_lost() == 0
    assert [job.id for job in queue.jobs] == [answer.build_id]


async def test_a_request_does_not_wait_for_a_queue_that_is_stalled(
    container_requests: ContainerRequests, queue: MemoryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client gets its answer; the job is published in the background."""
    stalled = asyncio.Event()
    put = queue.put

    async def put_later(job: BuildJob | IndexJob) -> None:
        await stalled.wait()
        await put(job)

    monkeypatch.setattr(queue, "put", put_later)
    monkeypatch.setattr(dispatch, "AT_ONCE", 0.01)
    await container_requests.submit(RECIPE, CALLER)
    assert not queue.jobs
    stalled.set()

    async with asyncio.timeout(10):
        while not queue.jobs:  # noqa: ASYNC110 - published by a background task
            await asyncio.sleep(0)


async def test_a_request_that_fails_after_its_build_was_stored_is_not_built_or_counted(
    container_requests: ContainerRequests,
    dispatcher: Dispatcher,
    grants: MemoryGrants,
    limits: CountedBuilds,
    queue: MemoryQueue,
) -> None:
    """503 means that nothing happened; the client sends the request again, which is built once."""
    grants.is_away = True
    with pytest.raises(Unavailable):
        await container_requests.submit(RECIPE, CALLER)
    await dispatcher.dispatch()
    assert (queue.jobs, limits.taken) == ([], 0)
    grants.is_away = False

    answer = await container_requests.submit(RECIPE, CALLER)

    assert ([job.id for job in queue.jobs], limits.taken) == ([answer.build_id], 1)
