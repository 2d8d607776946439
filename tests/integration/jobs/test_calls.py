"""Calls over NATS: one receiver, one reply, and nothing stored."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from msgspec import Struct

from swell.errors import Denied
from swell.jobs.calls import NoReceiver, NoReply, call, receiving
from swell.jobs.streams import Nats
from swell.jobs.user_credentials import SUBJECT, FindCredentials, FoundCredentials, user_credentials
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials
from swell.registry.credentials.principal import with_owners


class Question(Struct, frozen=True):
    number: int


class Receiver:
    """Counts the calls that it gets, and answers with their double; it refuses 13 and forgets 99."""

    def __init__(self) -> None:
        self.got: list[int] = []

    async def __call__(self, question: Question) -> Question:
        self.got.append(question.number)
        if question.number == 13:
            raise Denied("not that one")
        if question.number == 99:
            await asyncio.Event().wait()
        return Question(2 * question.number)


async def test_each_call_has_one_receiver_and_its_own_reply(nats: Nats) -> None:
    """Two receivers share the calls."""
    receivers = [Receiver(), Receiver()]
    async with AsyncExitStack() as opened:
        for each in receivers:
            await opened.enter_async_context(receiving(nats, "t.calls", Question, each))
        replies = await asyncio.gather(*(call(nats, "t.calls", Question(n), Question, 5) for n in range(13)))

    assert [each.number for each in replies] == [2 * n for n in range(13)]
    assert sorted(receivers[0].got + receivers[1].got) == list(range(13))


async def test_an_error_is_the_callers(nats: Nats) -> None:
    """With its class, so that each edge has the right status."""
    async with receiving(nats, "t.calls", Question, Receiver()):
        with pytest.raises(Denied, match="not that one"):
            await call(nats, "t.calls", Question(13), Question, 5)


async def test_without_a_receiver_or_a_reply_there_is_an_error(nats: Nats) -> None:
    """At once without a receiver, and nothing is delivered to one that comes later."""
    with pytest.raises(NoReceiver):
        await call(nats, "t.calls", Question(1), Question, 5)
    receiver = Receiver()
    async with receiving(nats, "t.calls", Question, receiver):
        with pytest.raises(NoReply):
            await call(nats, "t.calls", Question(99), Question, 0.2)
    assert receiver.got == [99]


async def test_a_gateway_that_does_not_reply_is_replaced(nats: Nats) -> None:
    """It may have died with the question: after three seconds another one is asked."""
    asked = 0

    async def find(wanted: FindCredentials) -> FoundCredentials:
        nonlocal asked
        asked += 1
        if asked == 1:
            await asyncio.Event().wait()
        return FoundCredentials(Credentials(wanted.registry, "pw"))

    async with receiving(nats, SUBJECT, FindCredentials, find):
        users = user_credentials(nats)
        found = await users.load(parse_reference("quay.io/a/b"), with_owners("platform", ["w"]))

    assert found == Credentials("quay.io", "pw")
    assert asked == 2
