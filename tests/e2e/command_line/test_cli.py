"""`swell` with the running stack: on a terminal, in a pipe and for programs; engines pull what it prints."""

import asyncio
import json
import os
import re
import shlex
import sys
import uuid
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from swell_embedded.stack import Stack
from tests.e2e.client import PLAIN, PUSHER, Swell
from tests.e2e.engines import Engine
from tests.e2e.terminal import Terminal
from tests.e2e.upstreams import Upstreams

SWELL = (sys.executable, "-m", "swell_cli")


class Ran(NamedTuple):
    code: int
    stdout: str
    stderr: str


Run = Callable[..., Coroutine[Any, Any, Ran]]


@pytest.fixture
def environment(stack: Stack, tmp_path: Path) -> dict[str, str]:
    """The variables of a user of the stack, who has no profile and no key."""
    named = {"SWELL_URL": stack.url, "XDG_CONFIG_HOME": str(tmp_path / "config"), "TERM": "xterm", "COLUMNS": "100"}
    hidden = ("SWELL_TOKEN", "WAVE_ENDPOINT", "TOWER_ACCESS_TOKEN", "SWELL_PROFILE", "NO_COLOR")
    return {name: value for name, value in os.environ.items() if name not in hidden} | named


@pytest.fixture
def run(environment: dict[str, str]) -> Run:
    """Run `swell` with words, in a pipe."""

    async def go(*words: str, text: str = "", **variables: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            *SWELL, *words, stdin=-1, stdout=-1, stderr=-1, env=environment | variables
        )
        async with asyncio.timeout(180):
            out, err = await process.communicate(text.encode())
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    return go


@pytest.fixture
def context(tmp_path: Path, upstreams: Upstreams) -> Path:
    """A folder with a Dockerfile whose step prints 42, and a file that is left out."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(f"FROM {upstreams.image()}\nCOPY . /files/\nRUN ls /files; echo $((40 + 2))\n")
    (folder / ".dockerignore").write_text("*.secret\n")
    (folder / "a.secret").write_text("hidden")
    (folder / "a.txt").write_text(f"{tmp_path}")  # another build in each test
    return folder


async def test_in_a_pipe_stdout_is_only_the_name(run: Run, stack: Stack, context: Path) -> None:
    """`docker run $(swell build .)` works; the log is lines on stderr, without control characters."""
    ran = await run("build", str(context))

    assert ran.code == 0, ran.stderr
    assert re.fullmatch(rf"{stack.url.removeprefix('http://')}/wt/\w+/\S+\n", ran.stdout)
    assert "packed" in ran.stderr
    assert "a.txt" in ran.stderr
    assert "a.secret" not in ran.stderr
    assert re.search(r" 42$", ran.stderr, re.MULTILINE)
    assert re.fullmatch(r"built in \d+\.\d s", ran.stderr.splitlines()[-1])
    assert "\x1b" not in ran.stderr + ran.stdout


async def test_programs_get_json_and_yaml(run: Run, context: Path) -> None:
    """The members are those of the API. A second request finds the image."""
    as_json = await run("build", str(context), "-q", "-o", "json")
    as_yaml = await run("build", str(context), "-q", "-o", "yaml")
    built, again = json.loads(as_json.stdout), yaml.safe_load(as_yaml.stdout)

    assert (as_json.stderr, as_yaml.stderr) == ("", "")
    assert (built["succeeded"], again["cached"]) == (True, True)
    assert built["containerImage"] == again["containerImage"]
    record, named = await asyncio.gather(
        run("status", built["buildId"], "-o", "json"), run("status", built["targetImage"], "-o", "name")
    )
    assert [json.loads(record.stdout)[name] for name in ("buildId", "exitStatus")] == [built["buildId"], 0]
    assert named.stdout == f"{built['targetImage']}\n"


async def test_on_a_terminal_the_last_line_can_be_copied(environment: dict[str, str], context: Path) -> None:
    """Steps appear as they end, in the place of the whole log."""
    async with Terminal((*SWELL, "build", str(context)), environment) as terminal:
        code = await terminal.ended()

    lines = [line.rstrip() for line in terminal.text.splitlines() if line.strip()]
    assert code == 0, terminal.text
    assert lines[-1].startswith("docker pull localhost")
    assert any(re.search(r"✓ \[3/3\] RUN ls", line) for line in lines)
    assert any("built in " in line for line in lines)


@pytest.mark.parametrize("engine", ["skopeo", "podman", "docker"], indirect=True)
async def test_engines_pull_and_run_what_is_printed(
    run: Run, engine: Engine, upstreams: Upstreams, tmp_path: Path
) -> None:
    """The name works wherever images are named."""
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "said.txt").write_text("from a layer")

    ran = await run(
        "augment", upstreams.image(), "--layer", str(layer), "--entrypoint", "cat", "--cmd", "/said.txt", "-q"
    )

    assert ran.code == 0, ran.stderr
    assert "from a layer" in await engine.run(ran.stdout.strip())


async def test_a_failed_build_exits_with_1(run: Run, environment: dict[str, str], upstreams: Upstreams) -> None:
    """The reason is the last thing that people see; on a terminal with the end of the log."""
    file = f"FROM {upstreams.image()}\nRUN echo said $((6 * 7)) && exit 9\n"

    ran = await run("build", "-", text=file)

    assert (ran.code, ran.stdout) == (1, "")
    assert "error: " in ran.stderr
    assert "exit status 9" in ran.stderr.partition("error: ")[2]
    command = f"printf %s {shlex.quote(file)} | {shlex.join(SWELL)} build -"
    async with Terminal(("bash", "-c", command), environment) as terminal:
        code = await terminal.ended()
    assert code == 1
    assert "said 42" in terminal.text


async def test_ctrl_c_asks_whether_to_cancel(
    environment: dict[str, str], swell: Swell, upstreams: Upstreams, tmp_path: Path
) -> None:
    """Yes cancels the build, no leaves it; both exit with 130."""
    file = tmp_path / "Dockerfile"
    unique = uuid.uuid4().hex[:8]  # short, because the terminal shows one line of a step that runs
    file.write_text(f"FROM {upstreams.image()}\nRUN echo {unique} && sleep 300\n")
    async with Terminal((*SWELL, "build", "-f", str(file)), environment) as terminal:
        await terminal.shows("sleep 300")
        await terminal.interrupt("Cancel the build?")
        terminal.press("n\n")
        assert await terminal.ended() == 130
        followed = re.search(r"swell logs -f (bd-\w+)", terminal.text)
    assert followed
    assert (await swell.build_status(followed[1]))["status"] == "PENDING"

    async with Terminal((*SWELL, "build", "-f", str(file)), environment) as terminal:
        await terminal.shows("sleep 300")
        await terminal.interrupt("Cancel the build?")
        terminal.press("y\n")
        assert await terminal.ended() == 130
        assert "goes on for 1 other request\n" in terminal.text  # the request of the first run


async def test_a_build_is_followed_and_cancelled_from_elsewhere(run: Run, upstreams: Upstreams, tmp_path: Path) -> None:
    """Detached, then `logs -f` until `cancel` ends it."""
    file = f"FROM {upstreams.image()}\nRUN echo {tmp_path} && sleep 300\n"
    started = json.loads((await run("build", "-", "-d", "-o", "json", text=file)).stdout)
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(run("logs", "-f", started["targetImage"]))
        cancelled = await run("cancel", started["targetImage"])

    assert cancelled.stdout == f"{started['buildId']}: cancelled\n", cancelled.stderr
    assert following.result().code == 1
    assert "cancelled" in following.result().stderr


async def test_a_wait_has_an_end(run: Run, upstreams: Upstreams, tmp_path: Path) -> None:
    """The build continues, so the exit code is another one than that of a failure."""
    file = f"FROM {upstreams.image()}\nRUN echo {tmp_path} && sleep 300\n"

    late = await run("build", "-", "--timeout", "1", text=file, SWELL_TOKEN=PLAIN)

    assert (late.code, late.stdout) == (5, "")
    assert "the build continues" in late.stderr
    name = re.search(r"\S+/wt/\S+", late.stderr)
    assert name, late.stderr
    assert (await run("cancel", name[0], SWELL_TOKEN=PLAIN)).code == 0


async def test_refusals_have_their_own_code_and_advice(run: Run) -> None:
    """3 is the client's to fix, 4 is the server's."""
    refused, unknown, away = await asyncio.gather(
        run("augment", "Not An Image"),
        run("status", "bd-0000000000000000_1"),
        run("augment", "debian", "--url", "http://localhost:1"),
    )

    assert (refused.code, unknown.code, away.code) == (3, 3, 4)
    assert "error: " in refused.stderr
    assert "doctor" in away.stderr


async def test_a_key_is_checked_when_it_is_stored(run: Run, stack: Stack, upstreams: Upstreams, tmp_path: Path) -> None:
    """A wrong one is refused; a stored one is used."""
    wrong = await run("login", stack.url, "-", text="wrong\n")
    right = await run("login", stack.url, "-", text=f"{PUSHER}\n")
    shown, mirrored = await asyncio.gather(
        run("config", "show", "-o", "json"),
        run("mirror", upstreams.image("docker"), f"{upstreams.basic}/cli", "--dry-run", "-o", "json"),
    )

    assert (wrong.code, right.code) == (3, 0), right.stderr
    assert json.loads(shown.stdout)["key"]["isSet"] is True
    assert PUSHER not in shown.stdout + right.stderr
    assert mirrored.code == 0, mirrored.stderr
    assert (await run("logout")).code == 0
    anonymous, plain = await asyncio.gather(
        run("mirror", upstreams.image("docker"), f"{upstreams.basic}/cli"),
        run("augment", upstreams.image(), "-q", SWELL_TOKEN=PLAIN),
    )
    assert (anonymous.code, plain.code) == (3, 0)


async def test_images_are_inspected(run: Run, upstreams: Upstreams) -> None:
    """A table for people, the whole answer for programs."""
    words = "inspect", upstreams.image("docker")
    people, programs = await asyncio.gather(run(*words), run(*words, "-o", "json"))

    assert re.search(r"^digest +sha256:", people.stdout, re.MULTILINE), people.stderr
    assert json.loads(programs.stdout)["container"]["digest"].startswith("sha256:")
