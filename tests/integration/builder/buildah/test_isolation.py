"""What a build step can see and use of the machine that builds."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs

from builder.buildah.engine import BuildahEngine
from builder.buildah.mounts import Version
from builder.domain.failure import BuildFailure
from swell.base_rules import BaseRules
from swell.store.records import Reason
from swell_sandbox import cgroups
from tests.integration.builder.buildah.test_engine import failure_of, recipe
from tests.integration.builder.contract import until
from tests.integration.builder.harness import OpenEngine, Output, Registry


@pytest.fixture(scope="module")
def limits(machine: None) -> None:
    """Control groups can be made here."""
    trial = f"swell-trial-{os.getpid()}"
    try:
        cgroups.make(trial, memory=1 << 20, pids=1)
    except OSError as error:
        pytest.skip(f"no control groups: {error}")
    finally:
        cgroups.remove(trial)


async def said_by(engine: BuildahEngine, base: str, step: str) -> Output:
    output = Output()
    await engine.build(recipe(base, f"FROM {base}\nRUN {step}\n"), output)
    return output


async def test_a_step_sees_its_own_processes_only(engine: BuildahEngine, base: str) -> None:
    """A step that could see ours could signal them."""
    ours = [await asyncio.create_subprocess_exec("sleep", "300") for _ in range(8)]
    try:
        output = await said_by(engine, base, "echo processes: $(ls /proc | grep -c '^[0-9]')")
    finally:
        for process in ours:
            process.kill()
            await process.wait()
    count = int(next(line for line in output if line.startswith(b"processes: ")).split()[1])
    assert count < len(ours)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.2.2"])
async def test_a_step_cannot_reach_our_loopback(engine: BuildahEngine, base: str, address: str) -> None:
    """Queues and stores listen there; 10.0.2.2 is what steps call the machine."""
    with socket.create_server(("127.0.0.1", 0)) as backend:
        port = backend.getsockname()[1]
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        output = await said_by(engine, base, f"nc -w 2 {address} {port} </dev/null && echo reached || echo refused")
    assert b"refused" in output
    assert b"reached" not in output


@pytest.fixture(scope="module")
async def unchecked(open_engine: OpenEngine, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildahEngine]:
    """An engine that refuses no mounts, so that nothing but the sandbox protects the machine."""
    async with open_engine(tmp_path_factory.mktemp("unchecked"), version=Version(999, 0, 0)) as engine:
        yield engine


REACH_OUT = "type=bind,rw,from=trap,source=/everything,target=/host"


async def reach_out(engine: BuildahEngine, base: str, mount: str, step: str) -> Output:
    """What a step says that has the machine's root at /host, by faults that buildah 1.28 has."""
    body = f"FROM {base} AS trap\nRUN ln -s / /everything\nFROM {base}\nRUN --mount={mount} ls /host; {step}; true\n"
    output = Output()
    try:
        await engine.build(recipe(base, body), output)
    except BuildFailure as failure:
        pytest.skip(f"this buildah does not let steps reach out: {failure}")
    if b"etc" not in output or b"usr" not in output:
        pytest.skip("this buildah does not let steps reach out")
    return output


@pytest.mark.parametrize("mount", [REACH_OUT, "type=cache,id=../../../../../../..,target=/host"])
async def test_outside_of_a_step_is_only_the_root_of_its_sandbox(
    unchecked: BuildahEngine, base: str, mount: str
) -> None:
    """The machine's files are not there, and nothing of the sandbox's root can be written."""
    step = (
        "cat /host/etc/shadow; ls /host/root /host/home /host/var/lib /host/work; touch /host/x /host/usr/x /host/etc/x"
    )

    output = await reach_out(unchecked, base, mount, step)

    assert output.text.count("o such file or directory") >= 5
    assert output.text.count("ead-only file system") >= 3


async def test_triggers_of_a_base_image_are_checked(
    unchecked: BuildahEngine, open_engine: OpenEngine, base: str, registry: Registry, tmp_path: Path
) -> None:
    """A mount that is unsafe in the container file is as unsafe in an ONBUILD of its base image."""
    trigger = f"FROM {base}\nONBUILD RUN --mount=type=cache,id=../../../../../../..,target=/host ls /host\n"
    await unchecked.build(recipe(base, trigger, made="triggers:1"), Output())

    async with open_engine(tmp_path, version=Version(1, 28, 2)) as engine:
        body = f"FROM {registry.address}/triggers:1\nRUN true\n"
        failure = await failure_of(engine, recipe(base, body))

    assert failure.reason is Reason.RECIPE
    assert "may not lead out of the cache" in str(failure)


async def test_a_trigger_of_a_base_image_reads_no_other_image_with_the_login(
    engine: BuildahEngine, base: str, registry: Registry
) -> None:
    """Everyone who may read the named images gets the result, so the login of an operator's key must open no others."""
    secret = f"{registry.address}/trigger-secret:1"
    await engine.build(recipe(base, f"FROM {base}\nRUN echo secret > /secret\n", made="trigger-secret:1"), Output())
    trigger = f"FROM {base}\nONBUILD COPY --from={secret} /secret /stolen\n"
    lender = recipe(base, trigger, made="trigger-base:1")
    await engine.build(structs.replace(lender, containerfile=f"FROM {secret} AS named\n{trigger}"), Output())

    failure = await failure_of(engine, recipe(base, f"FROM {registry.address}/trigger-base:1\n"))

    assert failure.reason is Reason.BASE_IMAGE


@pytest.mark.parametrize("trigger", ["COPY --from={} /secret /stolen", "RUN --mount=type=bind,from={},target=/m true"])
async def test_a_trigger_reads_no_other_tag_of_a_named_repository(
    engine: BuildahEngine, base: str, registry: Registry, trigger: str
) -> None:
    """Logins are for repositories, and all users' images are in the repository of this server."""
    own = f"{registry.address}/trigger-own"
    for tag in ("mine", "secret"):
        body = f"FROM {base}\nRUN echo {tag} > /{tag}\n"
        await engine.build(recipe(base, body, made=f"trigger-own:{tag}"), Output())
    named = f"FROM {own}:mine AS named\n"
    hostile = f"{named}FROM {own}:secret AS other\nFROM {base}\nONBUILD {trigger.format(f'{own}:secret')}\n"
    await engine.build(recipe(base, hostile, made="trigger-hostile:1"), Output())

    failure = await failure_of(engine, recipe(base, f"{named}FROM {registry.address}/trigger-hostile:1\n"))

    assert failure.reason is Reason.RECIPE
    assert "trigger-own:secret, and the container file does not" in str(failure)


async def test_a_trigger_has_no_variable_in_the_name_of_an_image(
    engine: BuildahEngine, base: str, registry: Registry
) -> None:
    """An ARG of the container file may give it any value."""
    hostile = f"FROM {base}\nONBUILD ARG IMAGE\nONBUILD COPY --from=$IMAGE /x /y\n"
    await engine.build(recipe(base, hostile, made="trigger-variable:1"), Output())

    body = f"ARG IMAGE={registry.address}/any:1\nFROM {registry.address}/trigger-variable:1\n"
    failure = await failure_of(engine, recipe(base, body))

    assert failure.reason is Reason.RECIPE
    assert "has a variable in --from" in str(failure)


async def test_outside_of_a_step_is_no_other_build(unchecked: BuildahEngine, base: str) -> None:
    """Contexts and layers of others are not there, and base images cannot be changed."""
    look = "find /host -maxdepth 7 -name 'bd-*'; for store in /host/tmp/bases/*; do touch $store/poison; done"

    output = await reach_out(unchecked, base, REACH_OUT, look)

    assert "ead-only file system" in output.text
    assert not any(line.startswith(b"/host") for line in output)


async def test_who_reaches_out_of_a_step_finds_no_credentials(
    unchecked: BuildahEngine, base: str, registry: Registry
) -> None:
    """Those for base images are with buildah while the step runs, whose user the step has."""
    secret = registry.authorization.removeprefix("Basic ")
    looks = (
        "cat /host/tmp/auth.json; find /host/tmp/work -name '*auth*'; cat /host/proc/*/fd/3 /host/proc/*/environ; env"
    )

    output = await reach_out(unchecked, base, REACH_OUT, looks)

    assert secret not in output.text
    assert '"auths"' not in output.text


@pytest.mark.parametrize("source", ["oci:/etc:x", "dir:/etc", "containers-storage:docker.io/library/x"])
async def test_images_come_from_registries_only(engine: BuildahEngine, base: str, source: str) -> None:
    """Other transports read files of the machine."""
    failure = await failure_of(engine, recipe(base, f"FROM {source}\nRUN true\n"))
    assert failure.reason is Reason.RECIPE
    assert f"line 1 of the container file: {source} is not an image in a registry" in str(failure)


async def test_too_many_processes_are_refused(open_engine: OpenEngine, limits: None, base: str, tmp_path: Path) -> None:
    """A fork bomb stays in its build, in the second step as in the first."""
    bomb = "RUN for i in $(seq 200); do sleep 60 & done\n"
    async with open_engine(tmp_path, build_pids=100) as engine:
        output = Output()
        with pytest.raises(BuildFailure, match="exit status 2"):
            await engine.build(recipe(base, f"FROM {base}\nRUN true\n{bomb}"), output)
    assert "can't fork" in output.text


async def test_a_deleted_file_counts_while_it_is_open(
    open_engine: OpenEngine, limits: None, base: str, tmp_path: Path
) -> None:
    """It takes disk, and no directory shows it."""
    step = "RUN exec 3> /x; rm /x; dd if=/dev/zero bs=1M count=80 >&3; sleep 60\n"
    async with open_engine(tmp_path, build_disk=64 << 20) as engine:
        failure = await failure_of(engine, recipe(base, f"FROM {base}\n{step}"))
    assert failure.reason is Reason.DISK


async def test_folders_without_end_are_removed_with_their_build(
    open_engine: OpenEngine, base: str, tmp_path: Path
) -> None:
    """What could not be removed would fill the disk, and keep the next builder from beginning."""
    deep = "i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || exit 1; i=$((i+1)); done; echo bottom"
    async with open_engine(tmp_path) as engine:
        output = await said_by(engine, base, deep)
        assert b"bottom" in output
        await until(lambda: not list((tmp_path / "builds").iterdir()), "the sandboxes of all builds are removed")


@pytest.fixture
def abyss(tmp_path: Path) -> Path:
    """A workspace with the sandbox of a build whose builder was killed, with deeply nested directories in it."""
    left = tmp_path / "builds/bd-left_1.x"
    left.mkdir(parents=True)
    script = "import os\nfor _ in range(1500):\n os.mkdir('d'); os.chdir('d')"
    subprocess.run((sys.executable, "-c", script), check=True, cwd=left)
    return tmp_path


async def test_folders_without_end_keep_no_builder_from_beginning(open_engine: OpenEngine, abyss: Path) -> None:
    """Otherwise one build could stop the service for good."""
    async with open_engine(abyss):
        assert not (abyss / "builds/bd-left_1.x").exists()


async def test_a_trigger_follows_the_policy(engine: BuildahEngine, base: str, registry: Registry) -> None:
    """The gateway does not see which images an ONBUILD names."""
    other, hostile = (f"{registry.address}/policy/{name}:1" for name in ("other", "hostile"))
    await engine.build(recipe(base, f"FROM {base}\nRUN echo other > /file\n", made="policy/other:1"), Output())
    trigger = f"FROM {other} AS other\nFROM {base}\nONBUILD COPY --from={other} /file /copied\n"
    await engine.build(recipe(base, trigger, made="policy/hostile:1"), Output())
    limited = structs.replace(
        recipe(base, f"FROM {hostile}\n"), base_rules=BaseRules(allowed=(hostile.removesuffix(":1"),))
    )

    failure = await failure_of(engine, limited)

    assert failure.reason is Reason.RECIPE
    assert f"names {other}, which the policy does not allow" in str(failure)
