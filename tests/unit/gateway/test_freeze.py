"""A frozen container file says of an image what its container config says, with every value to the letter."""

import contextlib
import re
import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.submit.freeze import base_image_of, entrypoint_of, freeze_image, freeze_recipe
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import BadRequest

IMAGE = "quay.io/biocontainers/samtools:1.17"
LAYER = ContainerLayer(location="", gzip_digest="sha256:" + "ab" * 32)
FULL = ContainerConfig(
    entrypoint=("/usr/bin/tini", "--"),
    cmd=("bash", "-c", 'echo "$HOME"'),
    env=("A=1", "B=two words"),
    working_dir="/my work",
    layers=(LAYER,),
)

one_line = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"))


def test_an_image_becomes_a_file_that_begins_from_it() -> None:
    """In the order of Wave's: layers, working directory, environment, entrypoint, command."""
    assert freeze_image(IMAGE, FULL, ("/entry.sh", "run"), False).splitlines() == [
        "# the lines below were added by freeze",
        f"FROM {IMAGE}",
        'ENV WAVE_ENTRY_CHAIN="/entry.sh run"',
        f"ADD layer-{'ab' * 32}.tar.gz /",
        'WORKDIR "/my work"',
        'ENV A="1" B="two words"',
        'ENTRYPOINT ["/usr/bin/tini", "--"]',
        'CMD ["bash", "-c", "echo \\"$HOME\\""]',
    ]


def test_a_definition_for_singularity_has_sections() -> None:
    """Apptainer knows no working directory and no CMD; what is given at the start goes to the entrypoint."""
    assert freeze_image(IMAGE, FULL, ("/entry.sh",), True).splitlines() == [
        "# the lines below were added by freeze",
        "BootStrap: docker",
        f"From: {IMAGE}",
        "%environment",
        "    export WAVE_ENTRY_CHAIN=/entry.sh",
        "%files",
        f"    {{{{wave_context_dir}}}}/layer-{'ab' * 32}/* /",
        "%environment",
        "    export A=1 B='two words'",
        "%runscript",
        '    exec /usr/bin/tini -- "$@"',
    ]


def test_a_file_gets_the_config_at_its_end() -> None:
    """What was asked for wins over what the file says."""
    made = freeze_recipe("FROM a\nCMD x", ContainerConfig(cmd=("y",)), None, False)
    assert made == 'FROM a\nCMD x\n# the lines below were added by freeze\nCMD ["y"]\n'


@pytest.mark.parametrize("entrypoint", [None, ("/entry.sh",)])
def test_a_file_without_a_config_stays_as_it_is(entrypoint: tuple[str, ...] | None) -> None:
    """So does its container id."""
    assert freeze_recipe("FROM a\n", ContainerConfig(), entrypoint, False) == "FROM a\n"


@pytest.mark.parametrize("end", ["\\", "\\\n", "\\  \n\n", "\\\n# a word\n", "\\\r\n  # a word \\\n\n"])
def test_a_file_that_ends_within_an_instruction_swallows_nothing(end: str) -> None:
    """A backslash at the end would make the config's lines a part of the last instruction."""
    made = freeze_recipe(f"FROM a\nRUN b {end}", ContainerConfig(env=("A=b",)), None, False)

    last = re.sub(r"(?m)^\s*#.*\n", "", made).replace("\\\n", "").splitlines()[-2:]
    assert [line.strip() for line in last] == ["RUN b", 'ENV A="b"']


@given(st.lists(st.sampled_from(["FROM a", "RUN b \\", "# c \\", "# d", "", "  ", "RUN e"])))
def test_whatever_a_file_ends_in_the_config_stands_alone(texts: list[str]) -> None:
    made = freeze_recipe("\n".join(texts), ContainerConfig(cmd=("x",)), (), False)

    kept = [line for line in made.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert kept[-1] == 'CMD ["x"]'
    assert not "".join(kept[-2:-1]).endswith("\\")


@given(st.dictionaries(st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), one_line, min_size=1))
def test_values_of_the_environment_are_kept_to_the_letter(values: dict[str, str]) -> None:
    """Quotes, dollars, backslashes and blanks; at Wave they become something else, or another instruction."""
    env = tuple(f"{name}={value}" for name, value in values.items())
    instruction = freeze_image(IMAGE, ContainerConfig(env=env), None, False).split("\n", 2)[2].removesuffix("\n")
    read = re.findall(r'(\w+)="((?:[^"\\$]|\\["\\$])*)"(?: |$)', instruction.removeprefix("ENV "))
    assert "\n" not in instruction
    assert {name: re.sub(r"\\(.)", r"\1", value) for name, value in read} == values


@given(st.lists(one_line, min_size=1))
def test_commands_are_kept_to_the_letter(words: list[str]) -> None:
    """JSON in a Dockerfile, quoted words in a runscript."""
    config = ContainerConfig(entrypoint=tuple(words), cmd=tuple(words))
    *_, entrypoint, cmd, _ = freeze_image(IMAGE, config, None, False).split("\n")
    assert [line.partition(" ")[0] for line in (entrypoint, cmd)] == ["ENTRYPOINT", "CMD"]
    assert msgspec.json.decode(cmd.partition(" ")[2]) == words

    run = freeze_image(IMAGE, config, None, True).split("\n    ")[1]
    assert shlex.split(run) == ["exec", *words, "$@"]
    assert "{{" not in run


@pytest.mark.parametrize(
    "config",
    [
        ContainerConfig(env=("A=1\nRUN id",)),
        ContainerConfig(env=("A B=1",)),
        ContainerConfig(env=("A$(id)=1",)),
        ContainerConfig(working_dir="/a\r\nRUN id"),
    ],
)
def test_what_no_container_file_can_say_is_refused(config: ContainerConfig) -> None:
    """A line break would begin another instruction."""
    with pytest.raises(BadRequest):
        freeze_image(IMAGE, config, None, False)


def test_a_file_with_another_escape_character_is_refused() -> None:
    """Our backslashes would be nothing special there."""
    with pytest.raises(BadRequest, match="escape"):
        freeze_recipe("# escape=`\nFROM a\n", FULL, None, False)


@pytest.mark.parametrize(
    ("containerfile", "entrypoint"),
    [
        ("FROM a\n", None),
        ("", None),
        ('FROM a\nENTRYPOINT ["/x", "a b,c"]\n', ("/x", "a b,c")),
        ("FROM a\nENTRYPOINT /x  run\n", ("/x", "run")),
        ("FROM a\nENTRYPOINT /x\nENTRYPOINT /y\n", ("/y",)),
        ("FROM a\nENTRYPOINT []\n", ()),
        ("FROM a AS b\nENTRYPOINT /x\nFROM c\n", None),
        ("FROM a AS Base\nENTRYPOINT /x\nFROM base\nRUN true\n", ("/x",)),
        ("FROM a\n# ENTRYPOINT /x\nRUN echo \\\n  # ENTRYPOINT /y\n  ENTRYPOINT /z\n", None),
        ('FROM a\nentrypoint \\\n  ["/x"]\n', ("/x",)),
    ],
)
def test_the_last_entrypoint_of_the_last_stage_counts(containerfile: str, entrypoint: tuple[str, ...] | None) -> None:
    """And what it inherits from the stages before."""
    assert entrypoint_of(containerfile) == entrypoint


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "line", ["FROM " + " " * 130_000 + "x y z", "FROM " + "${a-" * 32_000, "\\ " * 65_000, "#" * 130_000]
)
def test_a_long_container_file_takes_no_long_time(line: str) -> None:
    """It may be refused; one process answers all clients."""
    with contextlib.suppress(BadRequest):
        assert base_image_of(line) is None


@pytest.mark.parametrize(
    ("containerfile", "image"),
    [
        ("FROM a:1\n", "a:1"),
        ("FROM a\nFROM --platform=$BUILDPLATFORM b AS c\n", "b"),
        ("FROM a AS one\nFROM one AS two\nFROM TWO\n", "a"),
        ("FROM scratch\n", None),
        ("ARG TAG=1.0\nFROM a:${TAG}\n", "a:1.0"),
        ("ARG TAG\nFROM a:${TAG:-2.0}\n", "a:2.0"),
        ("ARG TAG\nFROM a:$TAG\n", "a:"),
        ("FROM \\\n  alpine:3\n", "alpine:3"),
        ("# escape=`\nFROM `\n  alpine:3\n", "alpine:3"),
        ("FROM --platform=linux/amd64 a\r\nRUN true\r\n", "a"),
        ("BootStrap: docker\nFrom: a:1\n%post\n  true\n", "a:1"),
        ("Bootstrap: localimage\nFrom: a.sif\n", None),
        ("", None),
    ],
)
def test_the_base_image_is_that_of_the_last_stage(containerfile: str, image: str | None) -> None:
    """Whoever wants to know its entrypoint must look there; None is what only the builder can tell."""
    assert base_image_of(containerfile) == image
