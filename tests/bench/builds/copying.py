"""`python -m tests.bench.builds.copying SOURCE TARGET`: copy an image twice as mirrors do, and print the figures.

Both registries use plain http on loopback, without a password.
"""

import asyncio
import sys
import time

import msgspec
from msgspec import Struct

from swell.net.outbound import Policy, open_session
from swell.oci.reference import parse_reference
from swell.registry.client import RegistryClient
from swell.registry.copy import Copier
from swell.registry.credentials.keyring import Keyring
from tests.bench.process import peak


class Figures(Struct, frozen=True):
    """Seconds and bytes of both copies, and the largest resident memory in MB."""

    first: float
    sent: int
    second: float
    sent_again: int
    memory: float


async def measure(source: str, target: str) -> Figures:
    async def ignore(_line: str) -> None:
        """The progress is not shown."""

    async with open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        times, sent = [time.monotonic()], []
        for _ in range(2):
            client = RegistryClient(session, Keyring(), actions="pull,push")
            copier = Copier(RegistryClient(session, Keyring()), client)
            result = await copier.copy(parse_reference(source), parse_reference(target), ignore)
            times.append(time.monotonic())
            sent.append(result.sent)
    return Figures(times[1] - times[0], sent[0], times[2] - times[1], sent[1], peak("self"))


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(asyncio.run(measure(*sys.argv[1:3]))).decode())
