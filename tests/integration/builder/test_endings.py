"""However a build ends, nothing of it is left and the next one works."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from builder.adapters.engine import BuildahEngine
from swell.store.records import Reason

from .conftest import OpenEngine, Output, Registry
from .test_engine import failure_of, recipe

WITHIN = 20.0


@pytest.fixture
def asleep() -> int:
    """A number of seconds that only this test's steps sleep."""
    return 100_000 + int(time.monotonic() * 1000) % 800_000


def sleeping(base: str, seconds: int) -> str:
    """A step whose processes do their best to outlive it."""
    return f"FROM {base}\nRUN (sleep {seconds} &); setsid sleep {seconds} >/dev/null 2>&1 & sleep {seconds}\n"


def sleepers(seconds: int) -> list[int]:
    command = b"sleep\0%d\0" % seconds
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if _read(path) == command]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


async def until(condition: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + WITHIN
    while not condition():
        assert time.monotonic() < give_up, f"in vain for {WITHIN} s: {what}"
        await asyncio.sleep(0.02)


def assert_nothing_left(workspace: Path, asleep: int) -> None:
    assert sleepers(asleep) == []
    assert list((workspace / "builds").iterdir()) == []
    assert str(workspace) not in Path("/proc/self/mountinfo").read_text()
    assert list(groups_of_builds()) == []


def groups_of_builds() -> Iterator[Path]:
    for pattern in ("swell-*-bd-0123456789abcdef_1.*", "*/swell-*-bd-0123456789abcdef_1.*"):
        yield from Path("/sys/fs/cgroup").glob(pattern)


async def test_a_build_that_takes_too_long_is_ended(
    open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int
) -> None:
    """With all its processes, also those that left its session."""
    async with open_engine(tmp_path, build_timeout=timedelta(seconds=3)) as engine:
        failure = await failure_of(engine, recipe(base, sleeping(base, asleep)))
        assert_nothing_left(tmp_path, asleep)
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())

    assert failure.reason is Reason.TIMED_OUT
    assert "0:00:03" in str(failure)


async def test_a_cancelled_build_is_ended(open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int) -> None:
    """When the service stops, or nobody wants the image any more."""
    async with open_engine(tmp_path) as engine:
        build = asyncio.create_task(engine.build(recipe(base, sleeping(base, asleep)), Output()))
        await until(lambda: len(sleepers(asleep)) == 3, "three sleepers")
        build.cancel()
        with pytest.raises(asyncio.CancelledError):
            await build

        assert_nothing_left(tmp_path, asleep)
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())


async def test_a_failed_build_leaves_nothing(open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int) -> None:
    """Failures are the usual case while somebody writes a container file."""
    async with open_engine(tmp_path) as engine:
        await failure_of(engine, recipe(base, f"FROM {base}\nRUN (sleep {asleep} &); exit 3\n"))
        assert_nothing_left(tmp_path, asleep)


async def test_a_teller_that_breaks_ends_the_build(open_engine: OpenEngine, base: str, tmp_path: Path) -> None:
    """A build whose log cannot be kept is not built on."""

    async def broken(line: bytes) -> None:
        raise ConnectionError("no log store")

    async with open_engine(tmp_path) as engine:
        with pytest.raises(ConnectionError):
            await engine.build(recipe(base, f"FROM {base}\nRUN sleep 1000\n"), broken)
        assert_nothing_left(tmp_path, 1000)


async def test_builds_at_once_do_not_meet(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """Each has a store of its own; they share only what they read."""
    targets = [base.replace("base:1", f"at-once-{number}:1") for number in range(4)]
    recipes = [recipe(base, f"FROM {base}\nRUN echo {target} > /name\n", target=target) for target in targets]

    digests = await asyncio.gather(*(engine.build(wanted, Output()) for wanted in recipes))

    assert len(set(digests)) == len(targets)


SERVICE = """
import asyncio, sys
from pathlib import Path
from builder.adapters.engine import BuildahEngine
from builder.build import Recipe
from builder.settings import EngineSettings

async def tell(line): pass

async def main(workspace, auth, target, containerfile):
    async with BuildahEngine.open(EngineSettings(workspace=Path(workspace), pull_auth_file=Path(auth))) as engine:
        recipe = Recipe(build_id="bd-0123456789abcdef_1", target_image=target, containerfile=containerfile)
        await engine.build(recipe, tell)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_builds_die_with_a_killed_builder(
    open_engine: OpenEngine, base: str, registry: Registry, tmp_path: Path, asleep: int
) -> None:
    """kill -9 leaves no time to clean up: the kernel ends the processes, the next life removes the rest."""
    arguments = [str(tmp_path), str(registry.auth_file), base.replace("base:1", "killed:1"), sleeping(base, asleep)]
    service = subprocess.Popen([sys.executable, "-c", SERVICE, *arguments])
    try:
        await until(lambda: len(sleepers(asleep)) == 3, "three sleepers")
    finally:
        os.kill(service.pid, signal.SIGKILL)
        service.wait()

    await until(lambda: sleepers(asleep) == [], "no sleeper")
    async with open_engine(tmp_path) as engine:
        assert_nothing_left(tmp_path, asleep)
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
