"""Activation without a shell of conda's: variables in the config, scripts by way of bash."""

import subprocess
from pathlib import Path

import pytest

from builder.conda.model.activation import SCRIPTS, environment, hook, read_variables
from builder.conda.model.package import Malformed


def test_variables_come_in_the_order_of_their_right() -> None:
    """The base image's, conda's over them, and over those the packages'."""
    variables = environment(["PATH=/base", "A=1", "CONDA_PREFIX=/x"], {"A": "2"}, scripts=False)
    assert variables == [
        "PATH=/opt/conda/bin:/base",
        "A=2",
        "CONDA_PREFIX=/opt/conda",
        "CONDA_DEFAULT_ENV=base",
        "MAMBA_ROOT_PREFIX=/opt/conda",
    ]


def test_a_base_without_a_path_gets_the_usual_one() -> None:
    """Its programs are found where they always are."""
    assert environment([], {}, scripts=False)[0].startswith("PATH=/opt/conda/bin:/usr/local/sbin:")


def test_bash_env_is_set_only_if_there_are_scripts_and_no_other_value() -> None:
    """What the base image had in mind comes first."""
    assert "BASH_ENV=/opt/conda/etc/conda/activate.bash" in environment([], {}, scripts=True)
    assert "BASH_ENV=/own" in environment(["BASH_ENV=/own"], {}, scripts=True)


@pytest.mark.parametrize("content", [b"[]", b'{"A": 1}', b'{"A=B": "x"}', b'{"": "x"}', b"\xff", b'{"A": "\\u0000"}'])
def test_what_sets_no_variables_is_refused(content: bytes) -> None:
    """The file is a package's."""
    with pytest.raises(Malformed):
        read_variables(content)


def test_scripts_run_once_and_change_no_options(tmp_path: Path) -> None:
    """Tasks run with `bash -ue`, which careless scripts do not survive; a shell within a shell has it all already."""
    (tmp_path / SCRIPTS).mkdir(parents=True)
    (tmp_path / SCRIPTS / "a.sh").write_text('false\nexport FOUND="$NO_SUCH_VARIABLE:${COUNT-}x" COUNT="${COUNT-}x"\n')
    (tmp_path / "hook").write_bytes(hook(str(tmp_path).lstrip("/")))
    command = 'echo "$FOUND $-"; bash -c \'echo "$COUNT"\'; false; echo not reached'
    ran = subprocess.run(
        ["bash", "-ue", "-c", command],
        env={"BASH_ENV": str(tmp_path / "hook"), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stderr, ran.returncode) == ("", 1)
    found, count = ran.stdout.splitlines()
    assert found.startswith(":x ")
    assert {"e", "u"} <= set(found.split()[1])
    assert count == "x"
