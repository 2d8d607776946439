"""docs/pipelines.md: its Python and its Swell commands run, its YAML can be read."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.client import PLAIN, Swell
from tests.e2e.engines import run
from tests.e2e.examples import ROOT
from tests.e2e.upstreams import Upstreams

PAGE = (ROOT / "docs/pipelines.md").read_text()
INSTALLS = ("pip install", "pipx install")
STANDS_FOR = """
member='import json, sys; print(json.load(open(sys.argv[2]) if sys.argv[2:] else sys.stdin)[sys.argv[1][1:]])'
jq() { python3 -c "$member" "${@:2}"; }
curl() { printf '{"value": "%s"}' "$KEY"; }
docker() { :; }
"""
"""jq is not installed here, GitHub gives no token, and `docker` is tried elsewhere."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def environment(swell: Swell, tmp_path: Path, upstreams: Upstreams) -> dict[str, str]:
    """A project with a Dockerfile, and the variables of a CI service."""
    (tmp_path / "Dockerfile").write_text(f"FROM {upstreams.image()}\nRUN echo pipeline\n")
    return dict(os.environ) | {
        "SWELL_URL": swell.url,
        "SWELL_TOKEN": PLAIN,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


async def shell(lines: list[str], folder: Path, environment: dict[str, str]) -> str:
    """Run *lines* as one script in *folder*, which must succeed."""
    swell = f'swell() {{ {shlex.quote(sys.executable)} -m swell_cli "$@"; }}'
    script = "\n".join(("set -euo pipefail", f"cd {shlex.quote(str(folder))}", swell, STANDS_FOR, *lines))
    ran = await run("bash", "-c", script, environment=environment)
    assert ran.status == 0, f"{script}\n{ran.output}"
    return ran.output


@pytest.mark.parametrize("number", [0, 1])
async def test_the_python_runs(environment: dict[str, str], upstreams: Upstreams, tmp_path: Path, number: int) -> None:
    """Rules of Snakemake are not Python, so only what is above them is run."""
    text = blocks("python")[number].partition("\nrule ")[0].replace("localhost:9500/library/busybox", upstreams.image())
    file = tmp_path / "example.py"
    file.write_text(text)

    ran = await run(sys.executable, str(file), environment=environment)

    assert ran.status == 0, ran.output
    assert len(blocks("python")) == 2


async def test_the_command_in_the_configuration_of_nextflow_prints_a_name(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Groovy runs it and strips the output."""
    (text,) = blocks("groovy")
    command = re.search(r"'(swell .*?)'\.execute", text)
    assert command

    output = await shell([command[1]], tmp_path, environment)

    assert re.fullmatch(r"\S+/wt/\S+\n", output)


async def test_the_steps_of_ci_services_run(
    environment: dict[str, str], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The installation is tested elsewhere; the rest runs in its order, with a key in the place of the job's token."""
    workflows: list[dict[str, Any]] = [yaml.safe_load(block) for block in blocks("yaml")]
    github, gitlab = workflows
    assert github["jobs"]["build"]["permissions"]["id-token"] == "write"
    assert gitlab["image"]["id_tokens"].keys() == {"SWELL_TOKEN"}
    steps = [step["run"] for step in github["jobs"]["build"]["steps"] if "run" in step]
    variables = tmp_path_factory.mktemp("runner") / "github.env"  # not in the build context: it has the token
    variables.touch()
    job = environment | {"KEY": environment["SWELL_TOKEN"], "GITHUB_ENV": str(variables)}
    job |= {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "ACTIONS_ID_TOKEN_REQUEST_URL": "http://localhost:1?a=b"}
    exported = f"set -a; . {shlex.quote(str(variables))}; set +a"

    kept = [step for step in steps if not step.startswith(INSTALLS)]
    await shell([f"{step}\n{exported}" for step in kept], tmp_path, job | {"SWELL_TOKEN": ""})
    await shell([line for line in gitlab["image"]["script"] if not line.startswith(INSTALLS)], tmp_path, environment)

    assert len(kept) == len(steps) - 1
    assert variables.read_text() == f"SWELL_TOKEN={PLAIN}\n"
    assert "/wt/" in (tmp_path / "image.env").read_text()
    assert "targetImage" in (tmp_path / "image.json").read_text()
