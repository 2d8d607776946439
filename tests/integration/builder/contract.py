"""The contract of build engines: one set of tests that every engine passes.

A new engine describes itself as a `Subject`, in a module like `test_buildah.py`:

    class TestMine(EngineContract):
        @pytest.fixture
        def subject(self, registry: Registry) -> Subject: ...
"""

import asyncio
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest

from builder.domain.failure import BuildFailure
from builder.engine import Engine, Recipe
from swell.store.records import Reason
from swell_sandbox.lines import LONGEST_PIECE
from tests.integration.builder.harness import Output, Registry

WITHIN = 60.0
SLEEPERS = 3
MEMORY, DISK = 64 << 20, 64 << 20
"""Bytes that are enough for every recipe but a hungry one."""


class Subject(Protocol):
    """An engine under test, and recipes for it. A recipe is None where the engine has no way to do such a thing: it
    runs nothing of the user's, for example. That claim is skipped and says so.
    """

    registry: Registry

    def open(self, workspace: Path, **settings: Any) -> AbstractAsyncContextManager[Engine]:
        """The engine with credentials for the registry, and *settings* of `EngineSettings`."""

    def builder(self, workspace: Path, recipe: Recipe) -> tuple[str, ...]:
        """A command that opens the engine and builds *recipe*, as the builder would."""

    def good(self, said: str, made: str = "made:1") -> Recipe:
        """Says *said* on a line of its own, and becomes the image *made*."""

    def has_said(self, said: str, output: Output) -> bool:
        """Whether *output* has the line in which a recipe says *said*, not just one that quotes the recipe."""

    def bad(self) -> Recipe:
        """Does not work, by the user's fault."""

    def baseless(self) -> Recipe | None:
        """Needs an image that its registry does not have."""

    def private(self) -> Recipe | None:
        """Needs an image that wants a password."""

    def loud(self, size: int) -> Recipe | None:
        """Says *size* letters x in one line."""

    def endless(self, seconds: int) -> Recipe | None:
        """Says `begun`, and begins `SLEEPERS` processes or transfers that go on for *seconds*, in ways that outlive
        the process that started them.
        """

    def running(self, seconds: int) -> int:
        """How many of the things that last *seconds* go on now."""

    def nosy(self) -> Recipe | None:
        """Says all it can find out about its surroundings, and ends well."""

    def hungry(self) -> Recipe | None:
        """Takes four times `MEMORY` of memory."""

    def greedy(self, seconds: int) -> Recipe | None:
        """Writes more than `DISK`, then begins one thing that goes on for *seconds*."""


def has(recipe: Recipe | None) -> Recipe:
    if recipe is None:
        pytest.skip("this engine has no way to do such a thing")
    return recipe


async def failure_of(engine: Engine, wanted: Recipe) -> BuildFailure:
    with pytest.raises(BuildFailure) as caught:
        await engine.build(wanted, Output())
    return caught.value


@pytest.fixture
def asleep() -> int:
    """A number of seconds that only what this test begins goes on for."""
    return 100_000 + secrets.randbelow(800_000)


def new_build_id() -> str:
    """Return an id that is unique on this machine, so that leftover files can be assigned to the build."""
    return f"bd-{secrets.token_hex(8)}_1"


def sleepers(seconds: int) -> list[int]:
    """The processes of this machine that sleep so long."""
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


async def assert_nothing_left(subject: Subject, workspace: Path, build_id: str, asleep: int = 0) -> None:
    """Nothing of the build goes on; and soon there are no files, mounts, control groups or helpers of it."""
    assert not asleep or subject.running(asleep) == 0
    give_up = time.monotonic() + WITHIN
    while left := _left(workspace, build_id):
        assert time.monotonic() < give_up, left
        await asyncio.sleep(0.02)


def _left(workspace: Path, build_id: str) -> list[str]:
    groups = (path for pattern in ("*", "*/*") for path in Path("/sys/fs/cgroup").glob(pattern + build_id + "*"))
    named = (each for _, folders, files in os.walk(workspace) for each in (*folders, *files) if build_id in each)
    mounts = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(workspace) in line]
    return [*map(str, (*groups, *named, *helpers(workspace))), *mounts]


def helpers(workspace: Path) -> list[int]:
    """The processes that know *workspace*, but for those of a network that waits for the next build."""
    environments = {pid: _read(Path(f"/proc/{pid}/environ")) for pid in _processes()}
    ours, ready = str(workspace).encode(), str(workspace / "networks").encode()
    return [pid for pid, environment in environments.items() if ours in environment.replace(ready, b"")]


def _processes() -> Iterator[int]:
    own = {os.getpid()}
    yield from (int(path.name) for path in Path("/proc").glob("[0-9]*") if int(path.name) not in own)


def files_with(content: bytes, folder: Path) -> list[Path]:
    files = (Path(where) / name for where, _, names in os.walk(folder) for name in names)
    return [path for path in files if path.is_file() and not path.is_symlink() and content in _read(path)]


class EngineContract:
    async def test_the_digest_names_what_the_registry_has(self, subject: Subject, tmp_path: Path) -> None:
        """The returned digest can be pulled, and no file or process of the build remains."""
        recipe = subject.good("made of it")
        async with subject.open(tmp_path) as engine:
            output = Output()
            digest = await engine.build(recipe, output)
            await assert_nothing_left(subject, tmp_path, recipe.build_id)
        assert subject.registry.fetch("made/manifests/1")[1] == digest
        assert subject.has_said("made of it", output)

    async def test_builds_at_once_do_not_meet(self, subject: Subject, tmp_path: Path) -> None:
        """Each becomes its own image, and hears its own lines."""
        names = [f"at-once-{number}" for number in range(4)]
        outputs = [Output() for _ in names]
        async with subject.open(tmp_path) as engine:
            digests = await asyncio.gather(
                *(
                    engine.build(subject.good(name, f"{name}:1"), output)
                    for name, output in zip(names, outputs, strict=True)
                )
            )
        assert len(set(digests)) == len(names)
        for name, output in zip(names, outputs, strict=True):
            assert [other for other in names if other in output.text] == [name]
            assert subject.has_said(name, output)

    async def test_a_line_without_end_comes_in_pieces(self, subject: Subject, tmp_path: Path) -> None:
        """Megabytes without a newline are no reason to hold megabytes."""
        recipe, output = has(subject.loud(3_000_000)), Output()
        async with subject.open(tmp_path) as engine:
            await engine.build(recipe, output)
        assert max(map(len, output)) <= LONGEST_PIECE
        assert re.search(rb"(?<!x)x{3000000}(?!x)", b"".join(output))

    async def test_the_users_fault_is_the_users(self, subject: Subject, tmp_path: Path) -> None:
        """The author of the container file can fix it, and the message is for them."""
        recipe = subject.bad()
        async with subject.open(tmp_path) as engine:
            failure = await failure_of(engine, recipe)
            await assert_nothing_left(subject, tmp_path, recipe.build_id)
        assert failure.reason is Reason.RECIPE
        assert 10 < len(str(failure)) < 500

    async def test_a_missing_base_image_is_reported(self, subject: Subject, tmp_path: Path) -> None:
        """The failure has the reason BASE_IMAGE and names the image."""
        async with subject.open(tmp_path) as engine:
            failure = await failure_of(engine, has(subject.baseless()))
        assert failure.reason is Reason.BASE_IMAGE

    async def test_the_error_names_a_forbidden_base_image(self, subject: Subject, tmp_path: Path) -> None:
        """Also by an engine that has pulled it for another principal before."""
        auth = tmp_path / "auth.json"
        auth.write_bytes(subject.registry.auth_file.read_bytes())
        async with subject.open(tmp_path / "workspace", pull_auth_file=auth) as engine:
            await engine.build(has(subject.private()), Output())
            auth.write_text("{}")
            failure = await failure_of(engine, has(subject.private()))
        assert failure.reason is Reason.BASE_IMAGE

    async def test_a_push_that_is_refused_is_not_the_users(self, subject: Subject, tmp_path: Path) -> None:
        """The image was fine; the operator's credentials were not."""
        async with subject.open(tmp_path, push_auth_file=None) as engine:
            failure = await failure_of(engine, subject.good("for nothing"))
        assert failure.reason is Reason.PUSH
        assert not failure.reason.is_users

    async def test_an_engine_that_cannot_work_says_so(self, subject: Subject, tmp_path: Path) -> None:
        """What the operator has to mend is not put on the user."""
        async with subject.open(tmp_path, push_auth_file=tmp_path / "gone.json") as engine:
            failure = await failure_of(engine, subject.good("for nothing"))
        assert failure.reason is Reason.ENGINE

    async def test_a_build_that_takes_too_long_is_ended(self, subject: Subject, tmp_path: Path, asleep: int) -> None:
        """With all that it began, also processes that left its session; and the next one works."""
        recipe = has(subject.endless(asleep))
        async with subject.open(tmp_path, build_timeout=timedelta(seconds=10)) as engine:
            failure = await failure_of(engine, recipe)
            await assert_nothing_left(subject, tmp_path, recipe.build_id, asleep)
            await engine.build(subject.good("after it"), Output())
        assert failure.reason is Reason.TIMED_OUT
        assert "0:00:10" in str(failure)

    async def test_lines_are_written_as_they_come_and_a_cancelled_build_is_ended(
        self, subject: Subject, tmp_path: Path, asleep: int
    ) -> None:
        """When the service stops, or the build is cancelled."""
        recipe, output = has(subject.endless(asleep)), Output()
        async with subject.open(tmp_path) as engine:
            build = asyncio.create_task(engine.build(recipe, output))
            await until(
                lambda: subject.has_said("begun", output) and subject.running(asleep) == SLEEPERS,
                "what it does in the meantime",
            )
            build.cancel()
            with pytest.raises(asyncio.CancelledError):
                await build
            await assert_nothing_left(subject, tmp_path, recipe.build_id, asleep)
            await engine.build(subject.good("after it"), Output())

    async def test_a_teller_that_breaks_ends_the_build(self, subject: Subject, tmp_path: Path, asleep: int) -> None:
        """A build whose log cannot be kept is not built on."""

        async def broken(line: bytes) -> None:
            raise ConnectionError("no log store")

        recipe = has(subject.endless(asleep))
        async with subject.open(tmp_path) as engine:
            with pytest.raises(ConnectionError):
                await engine.build(recipe, broken)
            await assert_nothing_left(subject, tmp_path, recipe.build_id, asleep)

    async def test_builds_die_with_a_killed_builder(self, subject: Subject, tmp_path: Path, asleep: int) -> None:
        """After SIGKILL the kernel ends the processes, and the next start removes the files."""
        recipe = has(subject.endless(asleep))
        service = await asyncio.create_subprocess_exec(*subject.builder(tmp_path, recipe))
        try:
            await until(lambda: subject.running(asleep) == SLEEPERS, "what the build begins")
        finally:
            service.kill()
            await service.wait()
        await until(lambda: not subject.running(asleep), "nothing of it")
        async with subject.open(tmp_path) as engine:
            await assert_nothing_left(subject, tmp_path, recipe.build_id, asleep)
            await engine.build(subject.good("after it"), Output())

    async def test_too_much_memory_ends_the_build(self, subject: Subject, tmp_path: Path) -> None:
        """One build must not starve the others."""
        async with subject.open(tmp_path, build_memory=MEMORY) as engine:
            failure = await failure_of(engine, has(subject.hungry()))
        assert failure.reason is Reason.MEMORY

    async def test_too_much_disk_ends_the_build(self, subject: Subject, tmp_path: Path, asleep: int) -> None:
        """While it runs, with what it began; what it wrote is gone."""
        recipe = has(subject.greedy(asleep))
        async with subject.open(tmp_path, build_disk=DISK) as engine:
            failure = await failure_of(engine, recipe)
            await assert_nothing_left(subject, tmp_path, recipe.build_id, asleep)
            await engine.build(subject.good("after it"), Output())
        assert failure.reason is Reason.DISK
        assert str(DISK) in str(failure)

    async def test_credentials_are_nowhere_to_be_found(self, subject: Subject, tmp_path: Path, asleep: int) -> None:
        """Neither by what a build runs, nor in a file while it runs or afterwards."""
        nosy, endless, output = has(subject.nosy()), has(subject.endless(asleep)), Output()
        secret = subject.registry.authorization.removeprefix("Basic ").encode()
        assert files_with(secret, subject.registry.auth_file.parent), "this would find it"
        async with subject.open(tmp_path) as engine:
            await engine.build(nosy, output)
            build = asyncio.create_task(engine.build(endless, Output()))
            try:
                await until(lambda: subject.running(asleep) == SLEEPERS, "what the build begins")
                assert files_with(secret, tmp_path) == []
            finally:
                build.cancel()
                await asyncio.wait([build])
        assert len(output) > 10
        assert secret not in b"\n".join(output)
        assert b'"auths"' not in b"\n".join(output)
        assert files_with(secret, tmp_path) == []
