"""The memory of the services, and the duration of a second start."""

import asyncio
import re
import signal
import sys
import time
from pathlib import Path

from swell_embedded.services import SERVICES
from tests.bench.bar import Bar, Result, Round, judge
from tests.bench.builds.submits import request
from tests.bench.load import load
from tests.bench.place import ACCEPT, Place, clean_environment
from tests.bench.process import CannotMeasure

ROUNDS = 3
_LEFT_ALONE = 2.0  # seconds after which a service is idle
_READY_WITHIN = 60.0

IDLE = Bar(name="five services, idle, together", unit="MB", must=350, aim=300)
BUSY = Bar(name="largest service after load", unit="MB", must=160, aim=160)
START = Bar(name="make up, second time, to ready", unit="s", must=5, aim=2)


async def memory(place: Place) -> list[Result]:
    """Measure the proportional set size (PSS), which divides shared pages between processes."""
    idle, busy = [], []
    for _ in range(ROUNDS):
        await asyncio.sleep(_LEFT_ALONE)
        idle.append(Round(sum(_sizes(place))))
    url = place.through(await place.token(), "manifests")
    for _ in range(ROUNDS):
        await load(url, ACCEPT, seconds=2)
        await load(f"{place.gateway}/v1alpha2/container", post=request(place), seconds=2)
        busy.append(Round(max(_sizes(place))))
    return [judge(IDLE, idle), judge(BUSY, busy)]


async def second_start(place: Place) -> list[Result]:
    """Measure from the command to the message that Swell is ready, in a home that was used before."""
    home = place.home / "again"
    await _start_and_stop(home)
    return [judge(START, [Round(await _start_and_stop(home)) for _ in range(ROUNDS)])]


def _sizes(place: Place) -> list[float]:
    """Return the MB of each service with its child processes; each service is a session leader."""
    return [sum(_pss(process) for process in _session(place.stack.pid(each.name))) for each in SERVICES]


def _session(leader: int) -> list[Path]:
    """Return the session of a process. After the name in parentheses come state, parent, group and session.

    Source: proc(5), /proc/PID/stat, https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended
            continue
        if int(fields[3]) == leader:
            processes.append(process)
    return processes


def _pss(process: Path) -> float:
    match = re.search(r"^Pss: +(\d+) kB", (process / "smaps_rollup").read_text(), re.MULTILINE)
    return int(match[1]) * 1024 / 1e6 if match else 0


async def _start_and_stop(home: Path) -> float:
    started = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "swell_embedded", "up", "--free-ports"),
        env=clean_environment() | {"SWELL_HOME": str(home)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_READY_WITHIN):
            await _until_ready(process)
            seconds = time.perf_counter() - started
            process.send_signal(signal.SIGINT)
            await process.communicate()
            return seconds
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout
    while b"Swell is ready" not in (line := await process.stdout.readline()):
        if not line:
            raise CannotMeasure(f"`make up` ended with {await process.wait()}")
