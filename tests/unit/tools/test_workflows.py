"""The workflows of `.github/` run nothing but make targets that exist, with pinned actions and few permissions.

They cannot be run here, so their text is what is checked.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
WORKFLOWS = sorted(ROOT.glob(".github/workflows/*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
SETUP = ("apt-get ", "gh release create ")
"""Beginnings of the commands that are not a make target: the container's packages, and the release page."""


def read(path: Path) -> dict[str, Any]:
    """The workflow in *path*. BaseLoader, because YAML 1.1 reads the key `on` as true."""
    document = yaml.load(path.read_text(), yaml.BaseLoader)  # noqa: S506  it makes only texts, lists and dicts
    assert isinstance(document, dict)
    return document


def jobs() -> list[Any]:
    return [
        pytest.param(name, job, id=f"{path.stem}-{name}")
        for path in WORKFLOWS
        for name, job in read(path)["jobs"].items()
    ]


def test_there_are_workflows_for_check_test_and_release() -> None:
    """The tests below would pass without any file."""
    assert [path.stem for path in WORKFLOWS] == ["check", "release", "test"]


@pytest.mark.parametrize(("name", "job"), jobs())
def test_a_command_is_a_make_target(name: str, job: dict[str, Any]) -> None:
    """What a workflow does, a contributor can do at home with the same command."""
    for command in (step["run"] for step in job["steps"] if "run" in step):
        if not command.startswith(SETUP):
            found = re.fullmatch(r"make (?:--no-print-directory )?([a-z-]+)(?: .*)?", command)
            assert found, command
            assert found[1] in TARGETS


@pytest.mark.parametrize(("name", "job"), jobs())
def test_an_action_is_pinned_to_a_commit(name: str, job: dict[str, Any]) -> None:
    """The owner of an action can move its tags, but not a commit's hash."""
    for action in (step["uses"] for step in job["steps"] if "uses" in step):
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)


@pytest.mark.parametrize(("name", "job"), jobs())
def test_a_job_is_bounded_and_keeps_no_credentials(name: str, job: dict[str, Any]) -> None:
    """A job that hangs costs hours, and a token left in `.git/config` is readable for every later step."""
    assert 0 < int(job["timeout-minutes"]) <= 180
    for step in job["steps"]:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_only_the_release_page_needs_write_permission(path: Path) -> None:
    """That job checks out nothing, so no code of a change runs with the permission."""
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        if "permissions" in job:
            assert (path.stem, name, job["permissions"]) == ("release", "publish", {"contents": "write"})
            assert not any("checkout" in step.get("uses", "") for step in job["steps"])


def test_check_runs_on_every_supported_python() -> None:
    """`requires-python` says 3.11 or newer."""
    check = read(ROOT / ".github/workflows/check.yml")
    assert check["jobs"]["check"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]


def test_the_other_files_of_the_kit_can_be_read() -> None:
    """A mistake in one of them is otherwise seen only after it was merged."""
    for path in (".pre-commit-config.yaml", ".github/dependabot.yml"):
        assert read(ROOT / path)
    for form in ROOT.glob(".github/ISSUE_TEMPLATE/[!c]*.yml"):
        assert {"name", "description", "body"} <= read(form).keys()
    assert json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())["build"]["dockerfile"] == "Dockerfile"
    hooks = read(ROOT / ".pre-commit-config.yaml")["repos"]
    assert [repository["repo"] for repository in hooks] == ["local"]
