"""Dead letters over a real NATS server: a message that no worker can handle blocks no other, and is not lost."""

import asyncio
import os
import sys
from datetime import timedelta

import pytest

from swell.errors import NotFound, Unavailable
from swell.jobs import consume as module
from swell.jobs import streams
from swell.jobs.dead_letters import Command, DeadLetter, dead_letters, execute, parse_command
from swell.jobs.messages import BuildJob
from swell.jobs.publish import is_queued, publish
from swell.jobs.streams import Nats
from swell_embedded.ports import Ports
from swell_embedded.stack import Stack
from tests.integration.jobs.test_consume import Worker, job, jobs_left, working


class GiveUpRecorder:
    """Records the jobs that are given up, with the reasons."""

    def __init__(self, *, away: int = 0) -> None:
        self.reasons: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self._away = away

    async def __call__(self, job_id: str, why: str) -> None:
        if self._away:
            self._away -= 1
            raise Unavailable
        await self.reasons.put((job_id, why))

    async def next(self) -> tuple[str, str]:
        async with asyncio.timeout(30):
            return await self.reasons.get()


async def letters(nats: Nats) -> list[DeadLetter]:
    return [letter async for letter in dead_letters(nats.stream)]


async def send(nats: Nats, content: bytes, build_id: str = "bd-1_1") -> None:
    await nats.stream.publish(f"{BuildJob.subject}.{build_id}", content)


async def test_a_job_that_cannot_be_read_is_dead_lettered_unchanged(nats: Nats) -> None:
    """A newer gateway may send what this builder cannot read; a newer builder can."""
    recorder, content = GiveUpRecorder(), b'{"id": "bd-1_1", "target_image": 7}'
    await send(nats, content)
    async with working(nats, Worker(), give_up=recorder):
        job_id, why = await recorder.next()
        assert await jobs_left(nats) == 0

    (letter,) = await letters(nats)
    assert (job_id, letter.content, letter.subject) == ("bd-1_1", content, "jobs.build.bd-1_1")
    assert why == "cannot be read"  # clients see it
    assert letter.reason.startswith("cannot be read: Expected `str`, got `int`")


async def test_a_job_whose_handler_fails_every_time_is_dead_lettered(
    nats: Nats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test allows one failure, because ten seconds pass between two deliveries."""
    monkeypatch.setattr(module, "MAX_FAILURES", 1)

    class Broken(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            raise ZeroDivisionError

    recorder = GiveUpRecorder()
    await publish(nats.stream, job("bd-1_1"))
    async with working(nats, Broken(), give_up=recorder):
        assert (await recorder.next())[1] == "failed 1 times because of an internal error"
        assert await jobs_left(nats) == 0
    (letter,) = await letters(nats)
    assert letter.subject == "jobs.build.bd-1_1"
    assert "ZeroDivisionError" in letter.reason  # only the operator sees it


async def test_a_job_that_kills_its_workers_is_dead_lettered(nats: Nats, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the queue can count the deliveries."""
    monkeypatch.setattr(module, "MAX_DELIVERIES", 2)

    class Dying(Worker):
        async def does(self, build_id: str, attempt: int) -> None:
            await asyncio.Event().wait()

    await publish(nats.stream, job("bd-1_1"))
    for attempt in (1, 2):
        dying = Dying()
        async with working(nats, dying):
            assert await dying.next() == ("bd-1_1", attempt)

    recorder, worker = GiveUpRecorder(), Worker()
    async with working(nats, worker, give_up=recorder):
        assert (await recorder.next())[0] == "bd-1_1"
        assert await jobs_left(nats) == 0
    assert worker.taken.empty()


async def test_a_job_is_dead_lettered_only_after_it_was_given_up(nats: Nats) -> None:
    """Otherwise its build would be under way for ever."""
    recorder = GiveUpRecorder(away=1)
    await send(nats, b'{"id": "bd-1_1"}')
    async with working(nats, Worker(), give_up=recorder):
        assert (await recorder.next())[0] == "bd-1_1"
        assert await jobs_left(nats) == 0
    assert len(await letters(nats)) == 1


async def test_what_is_replayed_is_done(nats: Nats) -> None:
    """It leaves the dead letters, and a consumer that can handle it receives it, with the traces that it had."""
    await send(nats, b"{not json")
    async with working(nats, Worker()):
        assert await jobs_left(nats) == 0
    (unreadable,) = await letters(nats)
    await execute(nats.stream, Command("forget", frozenset({unreadable.number})))
    assert await letters(nats) == []

    await nats.stream.publish(
        "dead.jobs.build.bd-2_1",
        b'{"id":"bd-2_1","target_image":"r/i:t","containerfile":"FROM a","platform":"linux/amd64"}',
        headers={"Swell-Subject": "jobs.build.bd-2_1", "Swell-Reason": "it broke", "x-request-id": "abc"},
    )
    (line,) = await execute(nats.stream, Command("replay"))
    assert line.endswith("\tjobs.build.bd-2_1\tit broke")
    assert await letters(nats) == []
    assert await is_queued(nats.stream, BuildJob, "bd-2_1")

    worker = Worker()
    async with working(nats, worker):
        assert await worker.next() == ("bd-2_1", 1)
    assert await jobs_left(nats) == 0
    assert not await is_queued(nats.stream, BuildJob, "bd-2_1")


async def test_an_unknown_number_of_a_dead_letter_is_an_error(nats: Nats) -> None:
    """Nothing is replayed then."""
    with pytest.raises(NotFound, match="no dead letter 7"):
        await execute(nats.stream, Command("replay", frozenset({7})))


async def test_the_command_lists_what_there_is(nats: Nats, backends: Stack) -> None:
    """As an operator calls it."""
    await nats.stream.publish("dead.jobs.scan.sc-1", b"x", headers={"Swell-Subject": "jobs.scan.sc-1"})
    command = (sys.executable, "-m", "swell.jobs.dead_letters", "list")
    environment = {"SWELL_NATS_URL": backends.env["SWELL_NATS_URL"], "PATH": os.environ["PATH"]}

    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(timedelta(seconds=30).total_seconds()):
        output, _ = await process.communicate()

    assert process.returncode == 0
    assert "jobs.scan.sc-1" in output.decode()


def test_the_word_all_selects_every_dead_letter() -> None:
    """The operator need not list the numbers."""
    assert parse_command(["replay", "all"]) == Command("replay")
    assert parse_command(["forget", "3", "4"]) == Command("forget", frozenset({3, 4}))


async def test_an_unavailable_server_is_reported_at_once() -> None:
    """An operator who has the address wrong is to learn of it."""
    url = f"nats://127.0.0.1:{Ports.free().nats}"
    async with asyncio.timeout(15):
        with pytest.raises(Unavailable, match="NATS does not answer"):
            async with streams.connect(url, "lost", within=timedelta(seconds=1)):
                pytest.fail("connected")
