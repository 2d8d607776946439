"""A frozen recipe gives an image exactly the values of its container config."""

import contextlib
import re
import shlex

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.submit.builds.freeze import base_image_of, entrypoint_of, freeze_image, freeze_recipe
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


def test_an_image_becomes_the_base_image_of_a_recipe() -> None:
    """In Wave's order: layers, working directory, environment, entrypoint, command."""
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
    """Apptainer has no working directory and no CMD; arguments go to the entrypoint."""
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


def test_a_config_is_added_at_the_end() -> None:
    """The values of the config override those of the recipe."""
    frozen = freeze_recipe("FROM a\nCMD x", ContainerConfig(cmd=("y",)), None, False)
    assert frozen == 'FROM a\nCMD x\n# the lines below were added by freeze\nCMD ["y"]\n'


@pytest.mark.parametrize("entrypoint", [None, ("/entry.sh",)])
def test_a_recipe_without_a_config_is_unchanged(entrypoint: tuple[str, ...] | None) -> None:
    """Its container id is unchanged too."""
    assert freeze_recipe("FROM a\n", ContainerConfig(), entrypoint, False) == "FROM a\n"


STAGES = """FROM a AS first
ENTRYPOINT ["/a"]
# before the second
FROM b AS second
RUN x
FROM first
CMD y
"""


@pytest.mark.parametrize("target", ["second", "SECOND", "1"])
def test_a_config_is_added_to_the_target_stage(target: str) -> None:
    """Only the target becomes the image; a config at the end of the file would be lost."""
    frozen = freeze_recipe(STAGES, ContainerConfig(cmd=("z",)), None, False, target)
    added = 'RUN x\n# the lines below were added by freeze\nCMD ["z"]\nFROM first\n'
    assert frozen == STAGES.replace("RUN x\nFROM first\n", added)


@pytest.mark.parametrize("target", ["", "2"])
def test_the_last_stage_as_target_gives_the_same_text(target: str) -> None:
    """The id of such a request is unchanged."""
    frozen = freeze_recipe(STAGES, ContainerConfig(cmd=("z",)), None, False, target)
    assert frozen == STAGES + '\n# the lines below were added by freeze\nCMD ["z"]\n'


def test_the_entrypoint_and_the_base_image_are_those_of_the_target() -> None:
    """The entry chain has the entrypoint that the image would have without freeze."""
    assert [entrypoint_of(STAGES, target) for target in ("first", "second", "2")] == [("/a",), None, ("/a",)]
    assert [base_image_of(STAGES, {}, target) for target in ("first", "second", "")] == ["a", "b", "a"]


@pytest.mark.parametrize("target", ["third", "3", "-1", "\N{SUPERSCRIPT TWO}"])
def test_a_target_that_is_no_stage_is_refused(target: str) -> None:
    """The build would fail; there is no place for the config."""
    with pytest.raises(BadRequest, match="is no stage of containerFile"):
        freeze_recipe(STAGES, ContainerConfig(cmd=("z",)), None, False, target)


@pytest.mark.parametrize("end", ["\\", "\\\n", "\\  \n\n", "\\\n# a word\n", "\\\r\n  # a word \\\n\n"])
def test_a_line_continuation_at_the_end_is_removed(end: str) -> None:
    """Otherwise the lines of the config would become part of the last instruction."""
    frozen = freeze_recipe(f"FROM a\nRUN b {end}", ContainerConfig(env=("A=b",)), None, False)

    last = re.sub(r"(?m)^\s*#.*\n", "", frozen).replace("\\\n", "").splitlines()[-2:]
    assert [line.strip() for line in last] == ["RUN b", 'ENV A="b"']


@given(st.lists(st.sampled_from(["FROM a", "RUN b \\", "# c \\", "# d", "", "  ", "RUN e"])))
def test_the_config_is_separate_from_any_last_instruction(texts: list[str]) -> None:
    """Generated endings: continuations, comments and blanks."""
    frozen = freeze_recipe("\n".join(texts), ContainerConfig(cmd=("x",)), (), False)

    lines = [line for line in frozen.splitlines() if line.strip() and not line.strip().startswith("#")]
    assert lines[-1] == 'CMD ["x"]'
    assert not "".join(lines[-2:-1]).endswith("\\")


@given(st.dictionaries(st.from_regex("[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), one_line, min_size=1))
def test_values_of_variables_are_exact(values: dict[str, str]) -> None:
    """Quotes, dollars, backslashes and blanks; Wave changes them or starts another instruction."""
    env = tuple(f"{name}={value}" for name, value in values.items())
    instruction = freeze_image(IMAGE, ContainerConfig(env=env), None, False).split("\n", 2)[2].removesuffix("\n")
    read = re.findall(r'(\w+)="((?:[^"\\$]|\\["\\$])*)"(?: |$)', instruction.removeprefix("ENV "))
    assert "\n" not in instruction
    assert {name: re.sub(r"\\(.)", r"\1", value) for name, value in read} == values


@given(st.lists(one_line, min_size=1))
def test_arguments_of_commands_are_exact(words: list[str]) -> None:
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
def test_values_with_line_breaks_are_refused(config: ContainerConfig) -> None:
    """A line break would start another instruction."""
    with pytest.raises(BadRequest):
        freeze_image(IMAGE, config, None, False)


def test_a_file_with_another_escape_character_is_refused() -> None:
    """The backslashes of the added lines would have no effect."""
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
    """The last stage inherits the entrypoint of the stage that it begins from."""
    assert entrypoint_of(containerfile) == entrypoint


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "line", ["FROM " + " " * 130_000 + "x y z", "FROM " + "${a-" * 32_000, "\\ " * 65_000, "#" * 130_000]
)
def test_a_long_container_file_is_parsed_quickly(line: str) -> None:
    """It may be refused, but one process serves all clients."""
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
    """Its entrypoint is inspected; None if only the builder can determine the image."""
    assert base_image_of(containerfile) == image
