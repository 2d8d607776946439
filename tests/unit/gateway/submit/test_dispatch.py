"""Dispatching builds: the share of a client, and jobs that were lost."""

from datetime import timedelta

from gateway.domain.identity import Caller, Identity
from gateway.submit.dispatch import Dispatcher
from gateway.submit.submit import ContainerRequests
from swell.store.builds.memory import MemoryBuilds
from tests.unit.gateway.doubles import CALLER, MemoryQueue, ended
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
