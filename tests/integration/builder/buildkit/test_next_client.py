"""The process that becomes the buildctl of the next build, while it waits."""

from asyncio.subprocess import Process
from pathlib import Path

from builder.buildkit.buildctl import end
from builder.buildkit.engine import BuildkitEngine
from swell_sandbox.process import children
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import until
from tests.integration.builder.harness import Output, Registry

__all__ = ["buildkit", "programs"]


async def next_client(engine: BuildkitEngine) -> Process:
    """The process that the daemon of the last build has started for its next one."""
    daemon = engine._daemons._idle[-1].daemon
    await until(lambda: daemon.next_client is not None, "the next buildctl")
    assert daemon.next_client
    return await daemon.next_client


async def test_the_next_buildctl_waits_without_logins_and_ends_with_its_daemon(
    buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """It gets them with its command line, when there is a build."""
    login = registry.authorization.removeprefix("Basic ").encode()
    async with buildkit.open(tmp_path) as engine:
        await engine.build(buildkit.good("first", made="next/a:1"), Output())
        process = await next_client(engine)
        await until(lambda: bool(children(process.pid)), "the process in the namespaces of the daemon")
        for pid in (process.pid, *children(process.pid)):
            for file in ("environ", "cmdline"):
                assert login not in Path(f"/proc/{pid}/{file}").read_bytes()
        output = Output()
        await engine.build(buildkit.good("second", made="next/a:2"), output)
        last = await next_client(engine)
    assert buildkit.has_said("second", output)
    assert process.returncode is not None
    assert last.returncode is not None
    assert last.pid != process.pid


async def test_a_waiting_buildctl_that_has_ended_is_replaced(buildkit: Buildkit, tmp_path: Path) -> None:
    """The kernel may have killed it, for want of memory."""
    async with buildkit.open(tmp_path) as engine:
        await engine.build(buildkit.good("before", made="next/b:1"), Output())
        await end(await next_client(engine))
        output = Output()
        await engine.build(buildkit.good("after", made="next/b:2"), output)
    assert buildkit.has_said("after", output)
