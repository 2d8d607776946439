"""The head of a SIF file, and what Apptainer finds in the image."""

import json
import struct
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.domain.failure import BuildFailure
from builder.sif.failures import INVALID, diagnose_sif
from builder.sif.format import Kind, Part, head_of
from builder.sif.singularity import RunFields, files_of
from swell.jobs.messages import Definition
from swell.oci.digest import digest_of
from swell.store.records import Reason


def part(kind: Kind, size: int) -> Part:
    return Part(kind, kind.name, size, digest_of(bytes(size)))


PARTS = (part(Kind.DEFINITION, 7), part(Kind.JSON, 5000), part(Kind.PARTITION, 8192))


def test_objects_follow_each_other_and_partitions_begin_at_a_page() -> None:
    """A file system is mounted from its offset, which must be one that can be mapped."""
    head = head_of(PARTS, "amd64")

    assert head.offsets == (32176, 32183, 40960)
    assert len(head.content) == 32176


def test_the_header_has_the_number_and_size_of_the_objects() -> None:
    """Apptainer reads the number of objects and their sizes from the header."""
    header = struct.unpack_from("<32s10s3s3s16s8q", head_of(PARTS, "arm64").content)

    assert header[:4] == (b"#!/usr/bin/env run-singularity\n\0", b"SIF_MAGIC\0", b"01\0", b"04\0")
    assert header[7:] == (45, 48, 4096, 28080, 32176, 40960 + 8192 - 32176)


def test_the_id_comes_from_the_parts() -> None:
    """The same parts, the same file; another part or machine, another id."""
    others = [(*PARTS[:2], part(Kind.PARTITION, 4096)), PARTS[:2]]
    ids = {head_of(each, "amd64").content[48:64] for each in (PARTS, PARTS, *others)}

    assert len(ids | {head_of(PARTS, "arm64").content[48:64]}) == 4


def test_an_unknown_architecture_is_refused() -> None:
    """The format has a fixed list of architecture codes."""
    with pytest.raises(BuildFailure, match="s390x"):
        head_of(PARTS, "s390x")


words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


def run_by(script: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    command = ["sh", "-c", script, "sh", *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, timeout=60, env={"PATH": "/usr/bin:/bin"} | (environment or {})
    ).stdout.decode()


@given(st.lists(words, max_size=3), st.lists(words, max_size=3))
def test_the_words_of_an_image_stay_words(command: list[str], given_: list[str]) -> None:
    """No shell reads them again; arguments take the place of the command, and the entrypoint stays."""
    entrypoint = ("printf", "%s\\0")
    script = files_of(RunFields(entrypoint=entrypoint, cmd=tuple(command)), None, "amd64")[".singularity.d/runscript"]

    assert run_by(script, *given_).split("\0")[:-1] == (given_ or command or [""])


def test_without_an_entrypoint_the_command_or_the_arguments_run() -> None:
    """Arguments replace the image's command, as with Docker."""
    script = files_of(RunFields(cmd=("echo", "a  b")), None, "amd64")[".singularity.d/runscript"]

    assert (run_by(script), run_by(script, "echo", "c")) == ("a  b\n", "c\n")


@given(words.filter(lambda text: "\r" not in text))
def test_values_of_variables_stay_unchanged(value: str) -> None:
    """Quotes and line breaks in values must survive the shell."""
    script = files_of(RunFields(env=(f"VALUE={value}",)), None, "amd64")[".singularity.d/env/10-docker2singularity.sh"]

    assert run_by(f"{script}\nprintf '%s\\0' \"$VALUE\"") == f"{value}\0"


def test_a_callers_own_variable_wins_but_not_the_path() -> None:
    """Apptainer passes the caller's environment on; the programs of the image must still be found."""
    fields = RunFields(env=("MODE=image", "PATH=/image/bin", "no.name=1"))
    script = files_of(fields, None, "amd64")[".singularity.d/env/10-docker2singularity.sh"]

    said = run_by(f'{script}\necho "$MODE $PATH"', environment={"MODE": "mine", "PATH": "/usr/bin"})

    assert said == "mine /image/bin\n"
    assert "no.name" not in script


def test_a_definition_overrides_the_image() -> None:
    """The definition file's run script replaces the image's entrypoint."""
    definition = Definition(text="all", runscript="#!/bin/bash\necho hi\n", labels={"a": "2"}, help="how\n")
    made = files_of(RunFields(entrypoint=("/x",), labels={"a": "1", "b": "1"}), definition, "arm64")

    assert made[".singularity.d/runscript"] == "#!/bin/bash\necho hi\n"
    assert made[".singularity.d/runscript.help"] == "how\n"
    labels = json.loads(made[".singularity.d/labels.json"])
    assert {name: labels[name] for name in ("a", "b")} == {"a": "2", "b": "1"}
    assert labels["org.label-schema.build-arch"] == "arm64"


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        (70, b"Write failed because No space left on device", Reason.DISK),
        (INVALID, b"Error: 'a' is a hard link to 'b', which is no file there", Reason.RECIPE),
        (70, b"Error: File too large", Reason.RECIPE),
        (-9, b"", Reason.MEMORY),
        (70, b"Error: out of memory", Reason.MEMORY),
        (70, b"FATAL ERROR: something", Reason.ENGINE),
    ],
)
def test_a_failed_conversion_has_the_reason_of_its_output(status: int, said: bytes, reason: Reason) -> None:
    """The reason says who can correct the failure: the client, or the operator."""
    assert diagnose_sif(status, [said]).reason is reason
