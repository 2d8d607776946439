"""Dead letters: messages that no worker could handle, stored for the operator.

`python -m swell.jobs.dead_letters list` lists them; `replay <number>…` publishes them again on their subject;
`forget <number>…` deletes them. `all` stands for every number.
"""

import argparse
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from msgspec import Struct
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from swell.errors import NotFound
from swell.jobs.publish import store
from swell.jobs.settings import NatsSettings
from swell.jobs.streams import DEAD, connect
from swell.log import printable
from swell.serve import run

REASON, SUBJECT = "Swell-Reason", "Swell-Subject"
_ADDED_HEADERS = frozenset({REASON, SUBJECT, "Nats-Msg-Id"})


class DeadLetter(Struct, frozen=True, kw_only=True):
    """A message that was published on *subject*; *number* is its sequence number in the dead-letter stream."""

    number: int
    subject: str
    reason: str
    stored: datetime | None
    content: bytes
    headers: dict[str, str]


async def dead_letter(stream: JetStreamContext, message: Msg, reason: str) -> None:
    """Store *message* as a dead letter; another call for the same message changes nothing.

    Raises:
        Unavailable: it is not stored, or not confirmed within 5 s.
    """
    headers = {name: value for name, value in (message.headers or {}).items() if name not in _ADDED_HEADERS}
    identity = f"{message.metadata.stream}:{message.metadata.sequence.stream}"
    headers |= {REASON: " ".join(reason.split())[:1000], SUBJECT: message.subject, "Nats-Msg-Id": identity}
    await store(stream, f"dead.{message.subject}", message.data, headers)


async def dead_letters(stream: JetStreamContext, after: int = 0) -> AsyncIterator[DeadLetter]:
    """Yield the dead letters with numbers above *after*, oldest first."""
    number = after
    with suppress(NotFoundError):
        while True:
            letter = _letter(await stream.get_msg(DEAD, seq=number + 1, subject="dead.>", next=True))
            number = letter.number
            yield letter


async def get(stream: JetStreamContext, number: int) -> DeadLetter | None:
    """Return the dead letter *number*; None if it does not exist."""
    with suppress(NotFoundError):
        return _letter(await stream.get_msg(DEAD, seq=number))
    return None


def _letter(message: RawStreamMsg) -> DeadLetter:
    headers = message.headers or {}
    return DeadLetter(
        number=message.seq or 0,
        subject=headers.get(SUBJECT, ""),
        reason=headers.get(REASON, ""),
        stored=message.time,
        content=message.data or b"",
        headers={name: value for name, value in headers.items() if name not in _ADDED_HEADERS},
    )


async def replay(stream: JetStreamContext, letter: DeadLetter) -> None:
    """Publish *letter* again on its subject and delete the dead letter."""
    headers = letter.headers | {"Nats-Msg-Id": f"replay:{letter.number}:{letter.stored}"}
    await store(stream, letter.subject, letter.content, headers)
    await stream.delete_msg(DEAD, letter.number)


async def forget(stream: JetStreamContext, letter: DeadLetter) -> None:
    """Delete the dead letter."""
    await stream.delete_msg(DEAD, letter.number)


class Settings(Struct, frozen=True, kw_only=True):
    """Settings of the command; each field is read from SWELL_<FIELD>."""

    nats: NatsSettings
    ca_file: Path | None = None
    log_level: str = "WARNING"


class Command(Struct, frozen=True):
    """An action (`list`, `replay` or `forget`) and the numbers of its dead letters; empty means all."""

    action: str
    numbers: frozenset[int] = frozenset()


def parse_command(arguments: Sequence[str]) -> Command:
    """Read the command line; exits with a message when it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m swell.jobs.dead_letters", description="Messages that no worker could handle."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("list", help="list them: number, time, subject, reason")
    for action, description in (("replay", "publish them again on their subject"), ("forget", "delete them")):
        subparser = actions.add_parser(action, help=description)
        subparser.add_argument("numbers", nargs="+", type=_number, metavar="NUMBER|all")
    parsed = parser.parse_args(arguments)
    numbers = getattr(parsed, "numbers", [None])
    return Command(parsed.action, frozenset() if None in numbers else frozenset(numbers))


def _number(text: str) -> int | None:
    return None if text == "all" else int(text)


async def execute(stream: JetStreamContext, command: Command) -> list[str]:
    """Execute *command*; return a line for each dead letter.

    Raises:
        NotFound: a number does not exist.
    """
    numbers = command.numbers
    letters = [letter async for letter in dead_letters(stream) if not numbers or letter.number in numbers]
    if missing := numbers - {letter.number for letter in letters}:
        raise NotFound(f"there is no dead letter {', '.join(map(str, sorted(missing)))}")
    for letter in letters:
        if command.action != "list":
            await {"replay": replay, "forget": forget}[command.action](stream, letter)
    return [f"{letter.number}\t{letter.stored}\t{letter.subject}\t{printable(letter.reason)}" for letter in letters]


async def main(settings: Settings) -> None:
    command = parse_command(sys.argv[1:])
    async with connect(settings.nats, "dead", settings.ca_file) as nats:
        for line in await execute(nats.stream, command):
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    run("dead", Settings, main)
