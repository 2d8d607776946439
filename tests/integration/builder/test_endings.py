"""However a build ends, nothing of it is left and the next one works."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from builder.adapters.engine import BuildahEngine
from builder.build import Recipe
from swell.store.records import Reason

from .conftest import OpenEngine, Output, Registry
from .test_engine import failure_of, recipe

WITHIN = 20.0


@pytest.fixture
def asleep() -> int:
    """A number of seconds that only this test's steps sleep."""
    return 100_000 + int(time.monotonic() * 1000) % 800_000


def sleeping(base: str, seconds: int) -> Recipe:
    """A step whose processes do their best to outlive it."""
    step = f"RUN (sleep {seconds} &); setsid sleep {seconds} >/dev/null 2>&1 & sleep {seconds}"
    return recipe(base, f"FROM {base}\n{step}\n", build_id=f"bd-{seconds}_1")


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
    assert list(groups_of(asleep)) == []


def groups_of(asleep: int) -> Iterator[Path]:
    for pattern in (f"swell-*bd-{asleep}_1*", f"*/swell-*bd-{asleep}_1*"):
        yield from Path("/sys/fs/cgroup").glob(pattern)


async def test_a_build_that_takes_too_long_is_ended(
    open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int
) -> None:
    """With all its processes, also those that left its session."""
    async with open_engine(tmp_path, build_timeout=timedelta(seconds=3)) as engine:
        failure = await failure_of(engine, sleeping(base, asleep))
        assert_nothing_left(tmp_path, asleep)
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())

    assert failure.reason is Reason.TIMED_OUT
    assert "0:00:03" in str(failure)


async def test_a_cancelled_build_is_ended(open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int) -> None:
    """When the service stops, or nobody wants the image any more."""
    async with open_engine(tmp_path) as engine:
        build = asyncio.create_task(engine.build(sleeping(base, asleep), Output()))
        await until(lambda: len(sleepers(asleep)) == 3, "three sleepers")
        build.cancel()
        with pytest.raises(asyncio.CancelledError):
            await build

        assert_nothing_left(tmp_path, asleep)
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())


async def test_a_failed_build_leaves_nothing(open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int) -> None:
    """Failures are the usual case while somebody writes a container file."""
    async with open_engine(tmp_path) as engine:
        step = f"RUN (sleep {asleep} &); exit 3"
        await failure_of(engine, recipe(base, f"FROM {base}\n{step}\n", build_id=f"bd-{asleep}_1"))
        assert_nothing_left(tmp_path, asleep)


async def test_a_teller_that_breaks_ends_the_build(
    open_engine: OpenEngine, base: str, tmp_path: Path, asleep: int
) -> None:
    """A build whose log cannot be kept is not built on."""

    async def broken(line: bytes) -> None:
        raise ConnectionError("no log store")

    async with open_engine(tmp_path) as engine:
        with pytest.raises(ConnectionError):
            await engine.build(sleeping(base, asleep), broken)
        assert_nothing_left(tmp_path, asleep)


async def test_builds_at_once_do_not_meet(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """Each has a store of its own; they share only what they read."""
    names = [f"at-once-{number}:1" for number in range(4)]
    recipes = [recipe(base, f"FROM {base}\nRUN echo {name} > /name\n", made=name) for name in names]

    digests = await asyncio.gather(*(engine.build(wanted, Output()) for wanted in recipes))

    assert len(set(digests)) == len(names)


SERVICE = """
import asyncio, sys
from pathlib import Path
from msgspec import json
from builder.adapters.engine import BuildahEngine
from builder.build import Recipe
from builder.settings import EngineSettings

async def tell(line): pass

async def main(workspace, auth, registry, recipe):
    settings = EngineSettings(workspace=Path(workspace), pull_auth_file=Path(auth), allowed_hosts=(registry,))
    async with BuildahEngine.open(settings) as engine:
        await engine.build(json.decode(recipe, type=Recipe), tell)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_builds_die_with_a_killed_builder(
    open_engine: OpenEngine, base: str, registry: Registry, tmp_path: Path, asleep: int
) -> None:
    """kill -9 leaves no time to clean up: the kernel ends the processes, the next life removes the rest."""
    files = str(tmp_path), str(registry.auth_file)
    arguments = [*files, registry.address, msgspec.json.encode(sleeping(base, asleep)).decode()]
    service = await asyncio.create_subprocess_exec(sys.executable, "-c", SERVICE, *arguments)
    try:
        await until(lambda: len(sleepers(asleep)) == 3, "three sleepers")
    finally:
        service.kill()
        await service.wait()

    await until(lambda: sleepers(asleep) == [], "no sleeper")
    async with open_engine(tmp_path) as engine:
        assert_nothing_left(tmp_path, asleep)
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
