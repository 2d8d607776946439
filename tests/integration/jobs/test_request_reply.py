"""Request/reply over a real NATS server: a request is answered while its client waits, and not afterwards."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Struct

from swell.errors import ManifestUnknown, SwellError, TooLarge, TooManyRequests, Unavailable
from swell.jobs.consume import consume
from swell.jobs.messages import InspectJob
from swell.jobs.publish import publish
from swell.jobs.request_reply import request, respond
from swell.jobs.streams import Nats
from tests.integration.jobs.test_consume import jobs_left

Work = Callable[[InspectJob], Awaitable[object]]


class Found(Struct):
    text: str


def question(nats: Nats, image: str = "a", seconds: float = 10) -> InspectJob:
    deadline = datetime.now(UTC) + timedelta(seconds=seconds)
    return InspectJob(id=uuid.uuid4().hex, image=image, reply=nats.client.new_inbox(), deadline=deadline)


@asynccontextmanager
async def answering(nats: Nats, work: Work, slots: int = 1) -> AsyncIterator[None]:
    async def take(job: InspectJob, _attempt: int) -> None:
        await respond(nats, job, lambda: work(job))

    task = asyncio.create_task(consume(nats.stream, "registry-proxy", InspectJob, take, slots=slots))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def echo(job: InspectJob) -> Found:
    return Found(f"größe of {job.image}")


def raising(error: Exception) -> Work:
    async def work(_: InspectJob) -> object:
        raise error

    return work


async def test_each_client_receives_the_reply_to_its_own_request(nats: Nats) -> None:
    """Also when all ask at once; the queue is empty afterwards."""
    async with answering(nats, echo, slots=8):
        found = await asyncio.gather(*(request(nats, question(nats, f"i{n}"), Found) for n in range(20)))

    assert [each.text for each in found] == [f"größe of i{n}" for n in range(20)]
    assert await jobs_left(nats) == 0


@pytest.mark.parametrize("error", [ManifestUnknown("'größe' is not there"), TooManyRequests("slowly", retry_after=7)])
async def test_an_error_is_raised_again_as_what_it_was(nats: Nats, error: SwellError) -> None:
    """The gateway answers as if it had happened there; the question is done, not put back."""
    async with answering(nats, raising(error)):
        with pytest.raises(type(error)) as caught:
            await request(nats, question(nats), Found)

    assert (str(caught.value), caught.value.retry_after) == (str(error), error.retry_after)
    assert await jobs_left(nats) == 0


async def test_an_unexpected_error_reveals_no_details(nats: Nats) -> None:
    """Details are in the log of the worker only."""
    async with answering(nats, raising(KeyError("password"))):
        with pytest.raises(SwellError) as caught:
            await request(nats, question(nats), Found)

    assert (type(caught.value), "password" in str(caught.value)) == (SwellError, False)


async def test_who_gets_no_answer_in_time_may_ask_again(nats: Nats) -> None:
    """No responder takes the request: it is no fault of the image."""
    with pytest.raises(Unavailable) as caught:
        await request(nats, question(nats, seconds=0.3), Found)

    assert caught.value.retry_after == 10


async def test_a_request_whose_client_has_left_is_not_worked_on(nats: Nats) -> None:
    """After a pause of the workers, the queue is full of them."""
    asked: list[str] = []

    async def work(job: InspectJob) -> Found:
        asked.append(job.image)
        return Found(job.image)

    await publish(nats.stream, question(nats, "late", seconds=-1))
    async with answering(nats, work):
        await request(nats, question(nats, "in time"), Found)

    assert asked == ["in time"]
    assert await jobs_left(nats) == 0


async def test_work_ends_when_its_asker_has_gone(nats: Nats) -> None:
    """A registry that never answers does not keep a slot."""
    ended = asyncio.Event()

    async def work(job: InspectJob) -> Found:
        try:
            if job.image == "slow":
                await asyncio.Event().wait()
            return Found(job.image)
        finally:
            ended.set()

    async with answering(nats, work):
        with pytest.raises(Unavailable):
            await request(nats, question(nats, "slow", seconds=3), Found)
        async with asyncio.timeout(30):
            await ended.wait()
        assert (await request(nats, question(nats, "next"), Found)).text == "next"


async def test_an_answer_larger_than_a_message_is_refused_in_words(nats: Nats) -> None:
    """The client receives an error at once, and does not wait."""

    async def work(_: InspectJob) -> Found:
        return Found("x" * nats.client.max_payload)

    async with answering(nats, work):
        with pytest.raises(TooLarge):
            await request(nats, question(nats), Found)
