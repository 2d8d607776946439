"""Which former builds the page of a build shows to viewers who are not their client."""

import time

import pytest

from gateway.pages.differences import has_other_versions_only
from swell.store.records import Submission
from tests.unit.gateway.doubles import NOON

FILE = "channels:\n- conda-forge\ndependencies:\n- bwa=0.7.17\n- bioconda::samtools>=1.17,<2\n"
RECIPE = "FROM micromamba\nCOPY conda.yml /tmp\n"


def submission(environment: str | None, containerfile: str = RECIPE) -> Submission:
    return Submission(
        container_id="a" * 16,
        fingerprint="",
        target_image="r.example/a:a",
        containerfile=containerfile,
        platform="linux/amd64",
        environment=environment,
        created=NOON,
    )


@pytest.mark.parametrize(
    "former",
    [
        "channels:\n- conda-forge\ndependencies:\n- bwa=0.7.18\n- bioconda::samtools>=1.21,<2\n",
        "channels:\n- conda-forge\ndependencies:\n- bioconda::samtools\n- bwa  == 0.7.*\n",
    ],
)
def test_other_versions_of_the_same_packages_are_shown(former: str) -> None:
    """Nothing else of the other build is in the page."""
    assert has_other_versions_only(submission(former), submission(FILE))


@pytest.mark.parametrize(
    ("former", "containerfile"),
    [
        (FILE.replace("conda-forge", "https://host/t/secret/private"), RECIPE),  # the token of a channel
        (FILE + "- pip:\n  - --extra-index-url=https://user:secret@host/simple\n", RECIPE),
        (FILE + "# secret\n", RECIPE),
        ("name: mine\n" + FILE, RECIPE),
        (FILE + "- another\n", RECIPE),
        (FILE, RECIPE + "RUN secret\n"),  # `commands`, or the container file beside the Conda file of Wave's older API
        (None, RECIPE),
    ],
)
def test_all_else_is_for_its_client_only(former: str | None, containerfile: str) -> None:
    """The page would publish the id of the other build, and with it what its client has shown to no other one."""
    assert not has_other_versions_only(submission(former, containerfile), submission(FILE))


def test_long_lines_are_read_in_linear_time() -> None:
    """Blanks and versions without an end."""
    hostile = "\n".join(f"- a{filler * 100_000}\x00" for filler in (" ", "=", " =", "-", "a"))
    started = time.process_time()

    has_other_versions_only(submission(hostile), submission(hostile))

    assert time.process_time() - started < 1
