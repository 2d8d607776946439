"""What a build with BuildKit can see, reach and use up of the machine that builds."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from msgspec import structs

from builder.buildkit.daemons.programs import Programs
from builder.buildkit.engine import BuildkitEngine
from builder.buildkit.network import egress, push_gateway
from builder.domain.failure import BuildFailure
from swell.store.records import Reason
from swell_sandbox import cgroups
from swell_sandbox.disk import FILE
from tests.integration.builder.buildah.test_network import Backend, backend, outer_address
from tests.integration.builder.buildkit.test_buildkit import Buildkit, buildkit, programs
from tests.integration.builder.contract import DISK, MEMORY, WITHIN, asleep, failure_of, sleepers, until
from tests.integration.builder.harness import Output, Registry

__all__ = ["asleep", "backend", "buildkit", "programs"]


@pytest.fixture(scope="module", autouse=True)
def limits(machine: None) -> None:
    """Control groups can be made here; without them nothing holds a build to its memory."""
    trial = f"swell-trial-{os.getpid()}"
    cgroups.make(trial, memory=1 << 20, pids=1)
    cgroups.remove(trial)


@pytest.fixture(scope="module")
async def daemons(
    registry: Registry, programs: Programs, base: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[BuildkitEngine]:
    async with Buildkit(registry, programs, base).open(tmp_path_factory.mktemp("workspace")) as engine:
        yield engine


async def output_of(daemons: BuildkitEngine, buildkit: Buildkit, steps: str) -> str:
    output = Output()
    await daemons.build(buildkit.recipe(steps), output)
    return output.text


async def test_a_step_sees_its_own_processes_only(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """A step that could see others could signal them."""
    text = await output_of(daemons, buildkit, "RUN echo processes: $(ls /proc | grep -c '^[0-9]'); ps\n")
    assert "processes: " in text
    assert int(text.split("processes: ")[2].split()[0]) < 8
    assert "buildkitd" not in text


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.2.2"])
async def test_a_step_does_not_reach_this_machines_loopback(
    daemons: BuildkitEngine, buildkit: Buildkit, address: str
) -> None:
    """Queues and stores listen there; 10.0.2.2 is what steps call the machine."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        step = f"RUN nc -w 2 {address} {port} </dev/null && echo rea''ched || echo ref''used\n"
        text = await output_of(daemons, buildkit, step)
    assert "refused" in text
    assert "reached" not in text


async def test_a_step_does_not_reach_what_buildkitd_reaches(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """The egress proxy, the push gateway and loopback registries are in another network than steps."""
    registry, _, port = buildkit.registry.address.partition(":")
    addresses = [(registry, port), ("127.0.0.1", egress.PORT), (push_gateway.HOST, push_gateway.PORT)]
    looks = "; ".join(f"nc -w 2 {host} {number} </dev/null && echo rea''ched" for host, number in addresses)
    text = await output_of(daemons, buildkit, f"RUN {looks}; echo do''ne; cat /proc/net/unix\n")
    assert "done" in text
    assert "reached" not in text
    assert "buildkitd.sock" not in text


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_a_step_has_a_way_out(daemons: BuildkitEngine, buildkit: Buildkit, backend: Backend) -> None:
    """Package managers need one."""
    step = f"RUN wget -q -O - http://{outer_address()}:{backend.port}/step; echo; cat /etc/resolv.conf\n"
    text = await output_of(daemons, buildkit, step)
    assert backend.requests == ["/step"]
    assert "nameserver 10.0.2.3" in text


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_a_step_without_network_has_none(daemons: BuildkitEngine, buildkit: Buildkit, backend: Backend) -> None:
    """RUN --network=none is a promise."""
    step = f"wget -q -T 3 -O - http://{outer_address()}:{backend.port}/step || echo ref''used"
    text = await output_of(daemons, buildkit, f"RUN --network=none {step}\n")
    assert backend.requests == []
    assert "refused" in text


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_denied_networks_are_not_reached(buildkit: Buildkit, backend: Backend, tmp_path: Path) -> None:
    """The operator's own networks may be as private as the loopback."""
    address = outer_address()
    async with buildkit.open(tmp_path, denied_networks=(f"{address}/32",)) as engine:
        step = f"RUN wget -q -T 5 -O - http://{address}:{backend.port}/x || echo ref''used\n"
        text = await output_of(engine, buildkit, step)
    assert backend.requests == []
    assert "refused" in text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "[::1]", "10.0.2.2", "0.0.0.0", "outer"])
@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_buildkitd_fetches_nothing_from_private_addresses(
    daemons: BuildkitEngine, buildkit: Buildkit, backend: Backend, host: str
) -> None:
    """The engine itself fetches what ADD names, with none of a step's limits."""
    host = outer_address() if host == "outer" else host
    failure = await failure_of(daemons, buildkit.recipe(f"ADD http://{host}:{backend.port}/file /file\n"))
    assert backend.requests == []
    assert failure.reason is Reason.RECIPE


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200", "168.63.129.16", "192.168.0.1", "10.0.0.1"])
async def test_buildkitd_reaches_no_clouds_credentials(
    daemons: BuildkitEngine, buildkit: Buildkit, address: str
) -> None:
    """WorkerCapabilities in clouds are given theirs at an address that only they reach."""
    failure = await failure_of(daemons, buildkit.recipe(f"ADD http://{address}/latest/meta-data /x\n"))
    assert "must not connect to" in str(failure)


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_base_images_come_from_no_private_address(
    daemons: BuildkitEngine, buildkit: Buildkit, backend: Backend
) -> None:
    """A FROM line is a request to an address of the user's choice, like any other."""
    for host in (outer_address(), "127.0.0.1"):
        failure = await failure_of(daemons, buildkit.recipe("RUN true\n", base=f"{host}:{backend.port}/image:1"))
        assert failure.reason is Reason.BASE_IMAGE
    assert backend.requests == []


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_git_sources_come_from_no_private_address(
    daemons: BuildkitEngine, buildkit: Buildkit, backend: Backend
) -> None:
    """git is another program than BuildKit, in the same network."""
    for url in (f"http://{outer_address()}:{backend.port}/r.git", f"git://{outer_address()}:{backend.port}/r.git"):
        await failure_of(daemons, buildkit.recipe(f"ADD {url} /r\n"))
    assert backend.requests == []


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_a_redirect_leads_nowhere_else(buildkit: Buildkit, backend: Backend, tmp_path: Path) -> None:
    """Each hop is a connection of its own, and is checked like the first."""
    other = Backend("0.0.0.0")
    location = f"http://{outer_address()}:{backend.port}/secret"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    other.server.server_close()
    server = await asyncio.start_server(answer, "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        server,
        buildkit.open(
            tmp_path, allowed_hosts=frozenset({buildkit.registry.address, f"{outer_address()}:{port}"})
        ) as engine,
    ):
        failure = await failure_of(engine, buildkit.recipe(f"ADD http://{outer_address()}:{port}/file /file\n"))
    assert backend.requests == []
    assert "must not connect to" in str(failure)


@pytest.mark.parametrize("backend", ["0.0.0.0"], indirect=True)
async def test_what_the_operator_allows_is_fetched(buildkit: Buildkit, backend: Backend, tmp_path: Path) -> None:
    """An allowed host may have a private address."""
    host = f"{outer_address()}:{backend.port}"
    async with buildkit.open(tmp_path, allowed_hosts=frozenset({buildkit.registry.address, host})) as engine:
        text = await output_of(engine, buildkit, f"ADD http://{host}/file /file\nRUN cat /file\n")
    assert "secret" in text
    assert backend.requests[-1] == "/file"


REACH_OUT = "type=bind,rw,from=trap,source=/everything,target=/host"


@pytest.mark.parametrize("mount", [REACH_OUT, "type=cache,id=../../../../../../..,target=/host"])
async def test_mounts_do_not_lead_out_of_a_step(daemons: BuildkitEngine, buildkit: Buildkit, mount: str) -> None:
    """Faults that buildah 1.28 has: a symbolic link as source, and a cache id with dots."""
    look = "cat /host/etc/shadow; ls /host/engine /host/tmp/work /host/proc/1; touch /host/tmp/buildkitd.toml"
    body = f"RUN true\nFROM {buildkit.base} AS trap\nRUN ln -s / /everything\nFROM {buildkit.base}\n"
    try:
        text = await output_of(daemons, buildkit, f"{body}RUN --mount={mount} {look}; true\n")
    except BuildFailure:
        return
    assert text.count("o such file or directory") >= 4


async def test_steps_find_no_credentials(daemons: BuildkitEngine, buildkit: Buildkit, registry: Registry) -> None:
    """Those for base images are with buildctl, in a file system that only it sees."""
    secret = registry.authorization.removeprefix("Basic ")
    text = await output_of(
        daemons,
        buildkit,
        "RUN env; mount; cat /proc/*/environ; find / -xdev -name 'config.json' -exec cat {} +; true\n",
    )
    assert secret not in text
    assert '"auths"' not in text


async def test_a_step_has_few_devices_and_rights(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """No disk, no kernel memory, no new devices, no mounts over the machine's."""
    text = await output_of(
        daemons,
        buildkit,
        "RUN ls /dev; mknod /x b 254 0; mount -t tmpfs t /mnt; echo 1 > /proc/sysrq-trigger; "
        "echo 0 > /sys/fs/cgroup/pids/cgroup.procs; ls /sys/fs/cgroup; dmesg | head -1; true\n",
    )
    devices = {line.split()[-1] for line in text.splitlines() if line.startswith("#") and line.count(" ") == 2}
    assert not devices & {"vda", "sda", "mem", "kmsg", "kvm", "tun"}


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        ("RUN --network=host true\n", "--network=host is not allowed"),
        ("RUN --security=insecure true\n", "--security=insecure is not allowed"),
    ],
)
async def test_privileges_are_refused_with_a_sentence(
    daemons: BuildkitEngine, buildkit: Buildkit, steps: str, sentence: str
) -> None:
    """No daemon grants an entitlement."""
    failure = await failure_of(daemons, buildkit.recipe(steps))
    assert failure.reason is Reason.RECIPE
    assert sentence in str(failure)


async def test_the_built_in_frontend_takes_the_place_of_docker_dockerfile(
    daemons: BuildkitEngine, buildkit: Buildkit
) -> None:
    """Nothing is fetched for a syntax line, and the log says so."""
    recipe = buildkit.recipe("RUN <<EOF\necho from a here-''document\nEOF\n")
    recipe = structs.replace(recipe, containerfile=f"# syntax=docker/dockerfile:1.7-labs\n{recipe.containerfile}")
    output = Output()
    await daemons.build(recipe, output)
    assert "from a here-document" in output.text
    assert "the frontend that is built into BuildKit is used" in output.text


async def test_another_frontend_is_refused(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """It would be a program of the user's choice with BuildKit's own interface."""
    recipe = buildkit.recipe("RUN true\n")
    recipe = structs.replace(recipe, containerfile=f"# syntax={buildkit.base}\n{recipe.containerfile}")
    failure = await failure_of(daemons, recipe)
    assert failure.reason is Reason.RECIPE
    assert "only docker/dockerfile" in str(failure)


async def test_a_fork_bomb_ends_and_the_limit_is_named(buildkit: Buildkit, tmp_path: Path) -> None:
    """Neither a time-out nor a stack dump: the sentence says which limit, and the next build works."""
    async with buildkit.open(tmp_path, build_pids=100) as engine:
        recipe = buildkit.recipe("RUN bomb() { bomb | bomb & }; bomb; sleep 100\n")
        async with asyncio.timeout(30):
            failure = await failure_of(engine, recipe)
        assert "100 processes and threads" in str(failure)
        assert "bomb" in str(failure)
        await engine.build(buildkit.good("after it"), Output())


async def test_a_fork_bomb_beside_another_stage_is_named(buildkit: Buildkit, tmp_path: Path) -> None:
    """The engine itself cannot start a step in a full group; what it says about that is not the reason."""
    bomb = "FROM {base} AS bomb\nRUN bomb() {{ bomb | bomb & }}; bomb; sleep 100\n"
    other = "FROM {base}\n" + "".join(f"RUN sleep 0.{n + 1}\n" for n in range(9)) + "COPY --from=bomb /etc /etc\n"
    async with buildkit.open(tmp_path, build_pids=60) as engine:
        recipe = structs.replace(buildkit.recipe(""), containerfile=(bomb + other).format(base=buildkit.base))
        async with asyncio.timeout(30):
            failure = await failure_of(engine, recipe)
    assert "60 processes and threads" in str(failure)
    assert "goroutine" not in str(failure)


async def test_memory_of_a_file_system_in_memory_counts(buildkit: Buildkit, tmp_path: Path) -> None:
    """A tmpfs mount without a size may take half of the machine."""
    steps = f"RUN --mount=type=tmpfs,target=/t dd if=/dev/zero of=/t/x bs=1M count={4 * MEMORY >> 20}\n"
    async with buildkit.open(tmp_path, build_memory=MEMORY) as engine:
        failure = await failure_of(engine, buildkit.recipe(steps))
    assert failure.reason is Reason.MEMORY


DELETED = "exec 3> /x; rm /x; dd if=/dev/zero bs=1M count={mib} >&3; sleep {seconds}"
MANY = "mkdir /m; cd /m; seq {files} | xargs touch; sleep {seconds}"


@pytest.mark.parametrize("step", [DELETED, MANY], ids=["deleted", "many"])
async def test_disk_that_no_file_shows_ends_the_build(
    buildkit: Buildkit, tmp_path: Path, asleep: int, step: str
) -> None:
    """A deleted file takes disk while it is open, and an empty file takes an inode."""
    run = step.format(mib=(DISK >> 20) + 8, files=DISK // FILE + 100, seconds=asleep)
    async with buildkit.open(tmp_path, build_disk=DISK) as engine:
        async with asyncio.timeout(WITHIN):
            failure = await failure_of(engine, buildkit.recipe(f"RUN {run}\n"))
        assert sleepers(asleep) == []
    assert failure.reason is Reason.DISK
    assert str(DISK) in str(failure)


async def test_processes_that_a_step_leaves_behind_end_with_it(
    daemons: BuildkitEngine, buildkit: Buildkit, asleep: int
) -> None:
    """A warm daemon starts the next build without anything of this one running."""
    text = await output_of(
        daemons,
        buildkit,
        f"RUN (setsid sleep {asleep} >/dev/null 2>&1 &); sleep 0.2; ps | grep -c '[s]leep {asleep}'; echo be''gun\n",
    )
    assert "begun" in text
    assert sleepers(asleep) == []


async def test_a_flood_of_lines_is_cut(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """It costs neither the time limit nor memory without end. Each line has the time of its step, of 5 or 6 digits."""
    output = Output()
    async with asyncio.timeout(WITHIN):
        await daemons.build(buildkit.recipe("RUN yes | head -c 200000000\n"), output)
    assert sum(map(len, output)) < 600 << 20
    assert "output clipped" in output.text


async def test_builds_of_one_line_share_layers_and_no_cache_mounts(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """The second finds the first's step, and nothing of what it wrote into a cache mount."""
    steps = "RUN echo same > /same\nRUN --mount=type=cache,target=/c cat /c/x; echo {0} > /c/x; echo end {0}\n"
    await output_of(daemons, buildkit, steps.format("one"))
    text = await output_of(daemons, buildkit, steps.format("two"))
    assert "CACHED" in text
    assert "can't open '/c/x'" in text


async def test_builds_with_other_credentials_share_nothing(
    buildkit: Buildkit, registry: Registry, tmp_path: Path
) -> None:
    """A base that one daemon has stored is not for those who could not read it, also where the name has a digest."""
    digest = registry.fetch("base/manifests/1")[1]
    base = f"{registry.address}/base@{digest}"
    auth = tmp_path / "auth.json"
    auth.write_bytes(registry.auth_file.read_bytes())
    async with buildkit.open(tmp_path / "workspace", pull_auth_file=auth) as engine:
        await engine.build(buildkit.recipe("RUN true\n", base=base), Output())
        auth.write_text("{}")
        failure = await failure_of(engine, buildkit.recipe("RUN true\n", base=base))
    assert failure.reason is Reason.BASE_IMAGE


async def test_builds_of_other_principals_share_nothing(daemons: BuildkitEngine, buildkit: Buildkit) -> None:
    """Whose credentials are used decides which daemon builds."""
    recipe = structs.replace(buildkit.recipe(""), containerfile="FROM scratch\nCOPY <<EOF /x\nsame\nEOF\n")
    texts = []
    for principal in ("vault:one", "vault:one", "vault:other"):
        output = Output()
        await daemons.build(structs.replace(recipe, principal=principal), output)
        texts.append(output.text)
    assert ["CACHED" in text for text in texts] == [False, True, False]


async def test_a_failed_step_costs_the_daemon_nothing(buildkit: Buildkit, tmp_path: Path) -> None:
    """A user's mistake is no reason to start anew; a limit that was reached is."""
    async with buildkit.open(tmp_path, build_timeout=timedelta(seconds=5)) as engine:
        await engine.build(buildkit.recipe("RUN echo same > /same\n"), Output())
        await failure_of(engine, buildkit.recipe("RUN echo same > /same\nRUN exit 3\n"))
        output = Output()
        await engine.build(buildkit.recipe("RUN echo same > /same\n"), output)
        assert "CACHED" in output.text
        await failure_of(engine, buildkit.recipe("RUN echo same > /same\nRUN sleep 60\n"))
        output = Output()
        await engine.build(buildkit.recipe("RUN echo same > /same\n"), output)
        assert "CACHED" not in output.text


async def test_a_daemon_does_not_wait_for_its_disk(buildkit: Buildkit, tmp_path: Path) -> None:
    """Its files do not outlive the builder, and fsync takes most of the time of a small build on a busy disk."""
    async with buildkit.open(tmp_path) as engine:
        await engine.build(buildkit.good("not synced"), Output())
        statuses = [Path(f"/proc/{pid}/status").read_text() for pid in _buildkitds(tmp_path)]
    assert statuses
    assert all("Seccomp_filters:\t1\n" in status for status in statuses)


async def test_a_daemon_that_has_crashed_is_replaced(buildkit: Buildkit, tmp_path: Path) -> None:
    """The kernel ends processes where memory is short."""
    async with buildkit.open(tmp_path) as engine:
        await engine.build(buildkit.good("before it"), Output())
        for pid in _buildkitds(tmp_path):
            os.kill(pid, 9)
        await until(lambda: not _buildkitds(tmp_path), "their end")
        await engine.build(buildkit.good("after it"), Output())


def _buildkitds(workspace: Path) -> list[int]:
    ours = {path.stat().st_ino for path in (workspace / "daemons").iterdir()}
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text() == "buildkitd\n" and (process / "root/tmp").stat().st_ino in ours:
                found.append(int(process.name))
        except OSError:
            continue
    return found
