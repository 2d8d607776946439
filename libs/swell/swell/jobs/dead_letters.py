"""Dead letters: messages that no worker could handle, stored for the operator.

`python -m swell.jobs.dead_letters list` shows them; `replay <number>…` publishes them again on their subject;
`forget <number>…` deletes them. `all` stands for every number.
"""

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime

from msgspec import Struct
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.errors import Error as JetStreamError
from nats.js.errors import NotFoundError

from swell.errors import NotFound, Unavailable
from swell.jobs.streams import DEAD, connect
from swell.serve import run

REASON, WAS_SAID = "Swell-Reason", "Swell-Subject"
_OURS = frozenset({REASON, WAS_SAID, "Nats-Msg-Id"})


class DeadLetter(Struct, frozen=True, kw_only=True):
    """What was said on *subject* and could not be handled; *number* is its place among the dead."""

    number: int
    subject: str
    reason: str
    buried: datetime | None
    content: bytes
    headers: dict[str, str]


async def dead_letter(stream: JetStreamContext, message: Msg, why: str) -> None:
    """Keep *message* among the dead letters, once however often this is called.

    Raises:
        Unavailable: it is not kept for sure.
    """
    headers = {name: value for name, value in (message.headers or {}).items() if name not in _OURS}
    identity = f"{message.metadata.stream}:{message.metadata.sequence.stream}"
    headers |= {REASON: " ".join(why.split())[:1000], WAS_SAID: message.subject, "Nats-Msg-Id": identity}
    try:
        await stream.publish(f"dead.{message.subject}", message.data, timeout=5, headers=headers)
    except (NatsError, JetStreamError, TimeoutError) as error:
        raise Unavailable(f"the message queue does not answer: {error}") from error


async def dead_letters(stream: JetStreamContext) -> AsyncIterator[DeadLetter]:
    """All dead letters, the oldest first."""
    number = 0
    with suppress(NotFoundError):
        while True:
            found = await stream.get_msg(DEAD, seq=number + 1, subject="dead.>", next=True)
            headers, number = found.headers or {}, found.seq or 0
            yield DeadLetter(
                number=number,
                subject=headers.get(WAS_SAID, ""),
                reason=headers.get(REASON, ""),
                buried=found.time,
                content=found.data or b"",
                headers={name: value for name, value in headers.items() if name not in _OURS},
            )


async def replay(stream: JetStreamContext, letter: DeadLetter) -> None:
    """Say *letter* again where it was said, and take it from the dead."""
    headers = letter.headers | {"Nats-Msg-Id": f"replay:{letter.number}:{letter.buried}"}
    await stream.publish(letter.subject, letter.content, timeout=5, headers=headers)
    await stream.delete_msg(DEAD, letter.number)


async def forget(stream: JetStreamContext, letter: DeadLetter) -> None:
    await stream.delete_msg(DEAD, letter.number)


class Settings(Struct, frozen=True, kw_only=True):
    """What the command is told by its environment."""

    nats_url: str
    log_level: str = "WARNING"


class Wish(Struct, frozen=True):
    """What to do with which dead letters; no numbers are all of them."""

    verb: str
    numbers: frozenset[int] = frozenset()


def parse_wish(arguments: Sequence[str]) -> Wish:
    parser = argparse.ArgumentParser(
        prog="python -m swell.jobs.dead_letters", description="Messages that nobody could handle."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("list", help="show them: number, time, subject, reason")
    for verb, does in (("replay", "say them again where they were said"), ("forget", "throw them away")):
        which = verbs.add_parser(verb, help=does)
        which.add_argument("numbers", nargs="+", type=_number, metavar="NUMBER|all")
    told = parser.parse_args(arguments)
    numbers = getattr(told, "numbers", [None])
    return Wish(told.verb, frozenset() if None in numbers else frozenset(numbers))


def _number(text: str) -> int | None:
    return None if text == "all" else int(text)


async def fulfil(stream: JetStreamContext, wish: Wish) -> list[str]:
    """Do what is wished for; answers a line for each letter it concerned.

    Raises:
        NotFound: there is no dead letter of a number that was named.
    """
    letters = [letter async for letter in dead_letters(stream) if not wish.numbers or letter.number in wish.numbers]
    if missing := wish.numbers - {letter.number for letter in letters}:
        raise NotFound(f"there is no dead letter {', '.join(map(str, sorted(missing)))}")
    for letter in letters:
        if wish.verb != "list":
            await {"replay": replay, "forget": forget}[wish.verb](stream, letter)
    return [f"{letter.number}\t{letter.buried}\t{letter.subject}\t{letter.reason}" for letter in letters]


async def main(settings: Settings) -> None:
    wish = parse_wish(sys.argv[1:])
    async with connect(settings.nats_url, "dead") as nats:
        for line in await fulfil(nats.stream, wish):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    run("dead", Settings, main)
