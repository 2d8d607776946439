"""`python -m swell_embedded up` as an operator sees it: real backends, stand-ins for the five services."""

import asyncio
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import pytest

from tests.integration.embedded.processes import descendants, gone

NAMES = ("gateway", "registry_proxy", "builder", "scanner", "metrics")
HOMES = {"nats", "redis", "s3", "registry", "gateway", "registry-proxy", "builder", "scanner", "metrics"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def services(tmp_path: Path) -> Path:
    """A folder of modules that `python -m gateway` and so on find before the real ones."""
    folder = tmp_path / "services"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(Path(__file__).with_name("standin.py"), folder / f"{name}.py")
    return folder


class Up:
    """The command, running; everything it wrote is in *said*."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""

    async def until(self, pattern: str) -> re.Match[str]:
        """Read what it writes until *pattern* is there, for at most 90 s."""
        assert self.process.stdout
        async with asyncio.timeout(90):
            while not (found := re.search(pattern, self.said)):
                line = await self.process.stdout.readline()
                assert line, f"it ended with {await self.process.wait()} and said:\n{self.said}"
                self.said += line.decode()
        return found

    async def ended(self) -> int:
        """Read all that it still writes, and its exit code, within 90 s."""
        assert self.process.stdout
        async with asyncio.timeout(90):
            self.said += (await self.process.stdout.read()).decode()
            return await self.process.wait()


@asynccontextmanager
async def up(home: Path, services: Path) -> AsyncIterator[Up]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SWELL_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "swell_embedded", "up", "--free-ports"),
        env=environment | {"SWELL_HOME": str(home), "PYTHONPATH": str(services)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Up(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_it_runs_until_it_is_stopped_and_leaves_no_process(
    home: Path, services: Path, number: signal.Signals
) -> None:
    """Ctrl-C stops everything that `make up` started, in order, with exit code 0."""
    async with up(home, services) as swell:
        url = (await swell.until(r"Swell is ready at (\S+) .*curl"))[1]
        family = descendants(swell.process.pid)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/health") as answer:
            assert answer.status == 200

        swell.process.send_signal(number)

        assert await swell.ended() == 0
        assert len(family) == len(HOMES)
        assert not await gone(family, seconds=0)
        assert {file.stem for file in (home / "logs").iterdir()} == HOMES


async def test_after_kill_9_no_child_runs_and_the_next_start_works(home: Path, services: Path) -> None:
    """The kernel ends the children of a killed supervisor, so no cleanup is needed."""
    async with up(home, services) as swell:
        await swell.until("Swell is ready")
        family = descendants(swell.process.pid)
        swell.process.kill()

        assert len(family) == len(HOMES)
        assert not await gone(family)

    async with up(home, services) as swell:
        await swell.until("Swell is ready")


async def test_the_second_start_takes_less_than_ten_seconds(home: Path, services: Path) -> None:
    """The bar of `make up`; the stand-ins load what the services' servers load. A machine that is so slow or busy that
    the first start takes longer shows no difference: the second is hardly longer than the first."""
    taken = []
    for _ in range(2):
        started = time.monotonic()
        async with up(home, services) as swell:
            await swell.until("Swell is ready")
            taken.append(time.monotonic() - started)
            swell.process.terminate()
            await swell.ended()

    assert taken[1] < max(10, 2 * taken[0])


async def test_a_crashed_service_is_restarted(home: Path, services: Path) -> None:
    """The stack goes on; the operator reads which service crashed, why, and that it runs again."""
    async with up(home, services) as swell:
        await swell.until("Swell is ready")
        family = descendants(swell.process.pid)
        os.kill(_pid_of("metrics", family), signal.SIGKILL)

        await swell.until('"event": "program restarted".*"name": "metrics"|"name": "metrics".*restarted')
        assert r"metrics was killed by SIGKILL; its last lines:\n    metrics is up on 1 port" in swell.said
        again = descendants(swell.process.pid)
        assert len(again - family) == 1 and len(again) == len(HOMES)
        swell.process.send_signal(signal.SIGINT)
        assert await swell.ended() == 0
        assert not await gone(again, seconds=0)


async def test_a_service_that_keeps_crashing_stops_the_stack_with_a_reason(home: Path, services: Path) -> None:
    """A partial stack must not look healthy; the message names the service and its log; the exit code is 1."""
    async with up(home, services) as swell:
        await swell.until("Swell is ready")
        family = descendants(swell.process.pid)
        (services / "metrics.py").write_text("raise SystemExit('the counters are broken')")
        os.kill(_pid_of("metrics", family), signal.SIGKILL)

        assert await swell.ended() == 1
        assert "swell: metrics keeps crashing: it ended 5 times, each within 60 s" in swell.said
        assert f"Its log is {home}/logs/metrics.log" in swell.said
        assert "metrics ended with exit code 1; its last lines:\n    the counters are broken" in swell.said
        assert swell.said.count("restarting") == 4
        assert not await gone(family, seconds=0)


async def test_it_can_be_stopped_while_it_waits_to_start_one_again(home: Path, services: Path) -> None:
    """Ctrl-C does not wait for a delay, nor for a program that does not become ready."""
    async with up(home, services) as swell:
        await swell.until("Swell is ready")
        (services / "metrics.py").write_text("import time; print('thinking', flush=True); time.sleep(1000)")
        os.kill(_pid_of("metrics", descendants(swell.process.pid)), signal.SIGKILL)
        await swell.until("thinking")
        family = descendants(swell.process.pid)
        swell.process.send_signal(signal.SIGINT)

        assert await swell.ended() == 0
        assert not await gone(family, seconds=0)


async def test_a_service_that_cannot_start_is_named_with_its_last_lines(home: Path, services: Path) -> None:
    """The operator reads the reason without opening a file."""
    (services / "scanner.py").write_text("raise SystemExit('the database of holes has holes')")
    async with up(home, services) as swell:
        assert await swell.ended() == 1

        assert "swell: scanner ended with exit code 1" in swell.said
        assert "    the database of holes has holes" in swell.said


async def test_it_can_be_stopped_before_it_is_ready(home: Path, services: Path) -> None:
    """A start that hangs can be interrupted."""
    (services / "builder.py").write_text("import time; print('thinking', flush=True); time.sleep(1000)")
    async with up(home, services) as swell:
        await swell.until("thinking")
        family = descendants(swell.process.pid)
        swell.process.send_signal(signal.SIGINT)

        assert await swell.ended() == 0
        assert not await gone(family, seconds=0)


def _pid_of(module: str, among: set[int]) -> int:
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in among}
    (found,) = (pid for pid, command in commands.items() if command[1:3] == [b"-m", module.encode()])
    return found
