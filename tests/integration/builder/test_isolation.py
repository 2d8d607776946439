"""What a build step can see and use of the machine that builds."""

import os
import socket
from pathlib import Path

import pytest

from builder.adapters import cgroups
from builder.adapters.engine import BuildahEngine
from swell.store.records import Reason

from .conftest import OpenEngine, Output, Registry
from .test_engine import failure_of, recipe


@pytest.fixture(scope="module")
def limits(machine: None) -> None:
    """Control groups can be made here."""
    try:
        cgroups.make("swell-trial", 1)
    except OSError as error:
        pytest.skip(f"no control groups: {error}")
    finally:
        cgroups.remove("swell-trial")


async def said_by(engine: BuildahEngine, base: str, step: str) -> Output:
    output = Output()
    await engine.build(recipe(base, f"FROM {base}\nRUN {step}\n"), output)
    return output


async def test_a_step_sees_its_own_processes_only(engine: BuildahEngine, base: str) -> None:
    """A step that could see ours could signal them."""
    output = await said_by(engine, base, "echo processes: $(ls /proc | grep -c '^[0-9]')")
    count = int(next(line for line in output if line.startswith(b"processes: ")).split()[1])
    assert count < 8 < len([name for name in os.listdir("/proc") if name.isdigit()])  # noqa: PTH208


async def test_a_step_cannot_reach_our_loopback(engine: BuildahEngine, base: str) -> None:
    """Queues and stores listen there."""
    with socket.create_server(("127.0.0.1", 0)) as backend:
        port = backend.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        output = await said_by(engine, base, f"nc -w 2 127.0.0.1 {port} </dev/null && echo reached || echo refused")
    assert b"refused" in output
    assert b"reached" not in output


@pytest.mark.parametrize(
    "mount",
    [
        "type=bind,rw,from=trap,source=/everything,target=/host",
        "type=cache,id=../../../../../../../..,target=/host",
    ],
)
async def test_mounts_that_reach_out_find_an_unprivileged_user(
    engine: BuildahEngine, base: str, tmp_path: Path, mount: str
) -> None:
    """Buildah 1.28 lets container files mount paths of the machine; root of the step is nobody there."""
    secret, open_to_all = tmp_path / "secret", Path("/etc/hostname")
    secret.write_text("the operator's secret")
    secret.chmod(0o600)
    trap = f"FROM {base} AS trap\nRUN ln -s / /everything\n"
    step = f"RUN --mount={mount} cat /host{secret}; cat /host/etc/shadow; touch /host/etc/swell-was-here; true\n"
    output = Output()

    await engine.build(recipe(base, f"{trap}FROM {base}\n{step}"), output)

    assert "secret\n" not in output.text
    assert b"root:" not in output.text.encode()
    assert open_to_all.exists()
    assert not Path("/etc/swell-was-here").exists()


async def test_other_builds_cannot_be_reached_by_such_mounts(engine: BuildahEngine, base: str) -> None:
    """Contexts and layers of others are readable by anybody who gets at them."""
    trap = f"FROM {base} AS trap\nRUN ln -s / /everything\n"
    step = (
        "RUN --mount=type=bind,from=trap,source=/everything,target=/host find /host -name 'bd-*' -maxdepth 6 | wc -l\n"
    )
    output = Output()

    await engine.build(recipe(base, f"{trap}FROM {base}\n{step}"), output)

    assert b"0" in output


@pytest.mark.parametrize("transport", ["oci:{path}:x", "dir:{path}", "docker-archive:{path}/x.tar"])
async def test_images_come_from_registries_only(
    engine: BuildahEngine, base: str, tmp_path: Path, transport: str
) -> None:
    """Other transports read files of the machine."""
    source = transport.format(path=tmp_path)
    failure = await failure_of(engine, recipe(base, f"FROM {source}\nRUN true\n"))
    assert failure.reason is Reason.BASE_IMAGE
    assert "rejected by policy" in str(failure)


async def test_no_credentials_are_in_a_step(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """Those of the base images are in the build's directory while it runs, and a step may look for them."""
    secret = registry.authorization.removeprefix("Basic ")
    trap = f"FROM {base} AS trap\nRUN ln -s /tmp /room\n"
    step = "RUN --mount=type=bind,from=trap,source=/room,target=/r ls /r && cat /r/pull.json; env; true\n"
    output = Output()

    await engine.build(recipe(base, f"{trap}FROM {base}\n{step}"), output)

    assert "pull.json" in output.text, "the step did not get at the room: this test proves nothing"
    assert secret not in output.text


async def test_too_much_memory_ends_the_step(open_engine: OpenEngine, limits: None, base: str, tmp_path: Path) -> None:
    """One build must not starve the others."""
    async with open_engine(tmp_path, build_memory=64 << 20) as engine:
        failure = await failure_of(
            engine, recipe(base, f"FROM {base}\nRUN dd if=/dev/zero of=/dev/null bs=300M count=1\n")
        )
    assert failure.reason is Reason.MEMORY


async def test_too_many_processes_are_refused(open_engine: OpenEngine, limits: None, base: str, tmp_path: Path) -> None:
    """A fork bomb stays in its build, in the second step as in the first."""
    bomb = "RUN for i in $(seq 100); do sleep 3 & done\n"
    async with open_engine(tmp_path, build_pids=40) as engine:
        output = Output()
        await engine.build(recipe(base, f"FROM {base}\nRUN true\n"), Output())
        with pytest.raises(Exception, match="exit status 2"):
            await engine.build(recipe(base, f"FROM {base}\nRUN true\n{bomb}"), output)
    assert "can't fork" in output.text
