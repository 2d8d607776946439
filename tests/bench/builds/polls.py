"""The duration of a status request while many clients poll, each once a second."""

import asyncio
import time
from statistics import quantiles

from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.place import Place
from tests.bench.process import CannotMeasure

ROUNDS = 3
POLLERS = 100
POLLS = 5  # of each client in a round, one second apart

STATUS = Bar(name="status poll, 100 pollers, p99", unit="ms", must=10, aim=10)


async def status(place: Place) -> list[Result]:
    """Each client has its own request, and polls at its own moment within the second."""
    urls = [f"{place.gateway}/v1alpha2/container/{await _submitted(place)}/status" for _ in range(POLLERS)]
    rounds = []
    for _ in range(ROUNDS):
        durations = await asyncio.gather(*(_poll(place, url, at / POLLERS) for at, url in enumerate(urls)))
        rounds.append(Round(quantiles([each for one in durations for each in one], n=100)[98]))
    return [judge(STATUS, rounds)]


async def _submitted(place: Place) -> str:
    token: str = (await place.submit(containerImage=place.image()))["requestId"]
    return token


async def _poll(place: Place, url: str, after: float) -> list[float]:
    """Return the milliseconds of each poll; the first starts *after* seconds from now."""
    begin, durations = time.perf_counter() + after, []
    for number in range(POLLS):
        await asyncio.sleep(max(0, begin + number - time.perf_counter()))
        started = time.perf_counter()
        async with place.http.get(url) as answer:
            await answer.read()
            if answer.status != 200:
                raise CannotMeasure(f"{url} answers {answer.status}")
        durations.append((time.perf_counter() - started) * 1000)
    return durations
