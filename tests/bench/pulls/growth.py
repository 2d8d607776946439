"""The cost of a pull with ten and with a million tokens, measured before, during and after the large number."""

import asyncio
import secrets
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

from redis.asyncio import Redis

from swell.store.connections import redis
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.load import load
from tests.bench.place import ACCEPT, Place
from tests.bench.process import CannotMeasure

ROUNDS = 4  # with many tokens; half of the rounds with few come before, half after, because the machine may change
COLD = 50  # new tokens in a round
MANY, FEWER = 1_000_000, 100_000
BATCH = 10_000  # grants in one pipeline
NEEDED = 3 << 30  # bytes for a million grants, and for Redis to write them


async def growth(place: Place) -> list[Result]:
    """Measure the first pull of new tokens, and pulls of a warm token."""
    count = MANY if _memory() >= NEEDED else FEWER
    sys.stdout.write(f"  with {count:,} tokens\n")
    cold, warm = _bars(count)
    token = await place.token()
    async with redis.connect(place.stack.env["SWELL_REDIS_URL"]) as state:
        few = await _rounds(place, token, ROUNDS // 2)
        async with _granted(state, token, count):
            many = await _rounds(place, token, ROUNDS)
        few += await _rounds(place, token, ROUNDS // 2)
    pairs = list(zip(many, few, strict=True))
    return [
        judge(cold, [Round(ours[0], peer[0]) for ours, peer in pairs]),
        judge(warm, [Round(ours[1], peer[1]) for ours, peer in pairs]),
    ]


def _bars(count: int) -> tuple[Bar, Bar]:
    peer = "the same with ten"
    cold = Bar(
        name=f"cold manifest with {count:,} tokens, p50",
        unit="ms",
        must=1.25,
        aim=1.1,
        compared=Compared.RATIO,
        peer=peer,
    )
    warm = Bar(
        name=f"warm manifest with {count:,} tokens",
        unit="requests/s",
        must=0.8,
        aim=0.9,
        compared=Compared.RATIO,
        peer=peer,
        at_least=True,
    )
    return cold, warm


async def _rounds(place: Place, token: str, count: int) -> list[tuple[float, float]]:
    return [await _round(place, token) for _ in range(count)]


async def _round(place: Place, token: str) -> tuple[float, float]:
    """Return milliseconds of a cold pull, and warm pulls in a second."""
    taken = []
    for _ in range(COLD):
        url = place.through(await place.token(), "manifests")
        started = time.perf_counter()
        await place.get(url, ACCEPT)
        taken.append((time.perf_counter() - started) * 1000)
    warm = await load(place.through(token, "manifests"), ACCEPT, seconds=2)
    return median(taken), warm.per_second


@asynccontextmanager
async def _granted(state: Redis, token: str, count: int) -> AsyncIterator[None]:
    """Store *count* grants like that of *token*; they are deleted after the block."""
    prefix = secrets.token_hex(8)
    grant = await state.get(f"swell:grant:{token}")
    if not isinstance(grant, bytes):
        raise CannotMeasure("the gateway keeps its grants somewhere else")
    before, _, after = grant.partition(token.encode())
    try:
        for names in _batches(prefix, count):
            async with state.pipeline(transaction=False) as pipe:
                for name in names:
                    pipe.set(f"swell:grant:{name}", before + name.encode() + after, ex=3600)
                await pipe.execute()
        await _settled(state)
        yield
    finally:
        for names in _batches(prefix, count):
            await state.unlink(*(f"swell:grant:{name}" for name in names))
        await _settled(state)


async def _settled(state: Redis) -> None:
    """Wait, at most a minute, until Redis has finished rewriting its append-only file, which costs processor time."""
    async with asyncio.timeout(60):
        while (await state.info("persistence"))["aof_rewrite_in_progress"]:  # noqa: ASYNC110  Redis sends no event
            await asyncio.sleep(0.5)


def _batches(prefix: str, count: int) -> Iterator[list[str]]:
    """Return *count* names with the length of tokens."""
    for start in range(0, count, BATCH):
        yield [f"{prefix}{number:010}" for number in range(start, min(start + BATCH, count))]


def _memory() -> int:
    """Return the available memory in bytes.

    Source: proc(5), /proc/meminfo, https://man7.org/linux/man-pages/man5/proc_meminfo.5.html
    """
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024
