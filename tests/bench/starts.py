"""How long the command line and the Python client take to start, beside other programs."""

import shutil
import sys
import time

from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.place import Place
from tests.bench.process import run

ROUNDS = 10

HELP = Bar(name="swell --help", unit="ms", must=200, aim=120, peer="skopeo --help")
IMPORT = Bar(name="import swell_client", unit="ms", must=120, aim=60, peer="python -c pass")


async def starts(_: Place) -> list[Result]:
    """Measure both alternately with their peers, after one start that fills the caches of files."""
    swell = shutil.which("swell") or "swell"
    return [
        await _alternately(HELP, (swell, "--help"), ("skopeo", "--help")),
        await _alternately(IMPORT, (sys.executable, "-c", "import swell_client"), (sys.executable, "-c", "pass")),
    ]


async def _alternately(bar: Bar, ours: tuple[str, ...], peer: tuple[str, ...]) -> Result:
    await _milliseconds(ours)
    await _milliseconds(peer)
    return judge(bar, [Round(await _milliseconds(ours), await _milliseconds(peer)) for _ in range(ROUNDS)])


async def _milliseconds(command: tuple[str, ...]) -> float:
    started = time.perf_counter()
    await run(*command)
    return (time.perf_counter() - started) * 1000
