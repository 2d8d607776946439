"""One reading of a container file for all services, and the readings of engines that differ."""

import itertools
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.containerfile import (
    BUILDAH_1_28,
    BUILDKIT,
    DIALECTS,
    MAX_SIZE,
    Dialect,
    Heredoc,
    base_images,
    parse,
    readings,
)
from swell.errors import BadRequest
from swell.oci.platform import Platform

FILES = Path(__file__).parents[1] / "fixtures" / "containerfiles"
ARM64 = Platform("linux", "arm64")


def names(text: str, dialect: Dialect = BUILDKIT) -> list[str]:
    return [each.name for each in parse(text, dialect)]


def bases(text: str, dialect: Dialect = BUILDKIT) -> tuple[str, ...]:
    return parse(text, dialect).base_images()


# --- instructions


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("RUN a b\n", "a b"),
        ("  run\ta b  \r\n", "a b"),
        ("RUN a \\\n  b\n", "a   b"),
        ("RUN a \\\n# c\n\n   # d \\\n  b\n", "a   b"),
        ("RUN a \\  \t\r\n  b\r\n", "a   b"),
        ("RUN a \\", "a"),
        ("\ufeffRUN a\n", "a"),
        ("# escape=`\nRUN a `\n b\n", "a  b"),
        ("#escape = `\nRUN a \\\n", "a \\"),
        ("# c\n# escape=`\nRUN a `\n", "a `"),
        ("RUN a\x0bb\x85c\u2028d\n", "a\x0bb\x85c\u2028d"),
        ("\u00a0RUN a\n", "a"),
    ],
)
def test_lines_become_instructions(text: str, value: str) -> None:
    """Continuations, comments and empty lines within them, the escape directive; only \\n ends a line."""
    (instruction,) = parse(text)
    assert (instruction.name, instruction.value) == ("RUN", value)


def test_instructions_know_their_lines() -> None:
    """Messages name them."""
    found = parse("# c\n\nFROM a\nRUN b \\\n\n  c\nCOPY <<x y\n1\nx\nCMD d\n")
    assert [(each.name, each.line, each.last_line) for each in found] == [
        ("FROM", 3, 3),
        ("RUN", 4, 6),
        ("COPY", 7, 9),
        ("CMD", 10, 10),
    ]


@pytest.mark.parametrize(
    ("text", "flags", "value"),
    [
        ("COPY --from=a --chown=1:2 --link b c", (("from", "a"), ("chown", "1:2"), ("link", "")), "b c"),
        ('RUN --mount="type=bind,source=a b" c', (("mount", "type=bind,source=a b"),), "c"),
        ("RUN --network=none -- --x", (("network", "none"),), " --x".strip()),
        ("RUN a --b=c", (), "a --b=c"),
        ("FROM --platform=$BUILDPLATFORM a", (("platform", "$BUILDPLATFORM"),), "a"),
    ],
)
def test_flags_stand_before_the_rest(text: str, flags: tuple[tuple[str, str], ...], value: str) -> None:
    """Without their quotes."""
    (instruction,) = parse(text)
    assert (instruction.flags, instruction.value) == (flags, value)


def test_the_exec_form_is_a_list_of_words() -> None:
    """What is no JSON list of strings is the shell form."""
    found = parse('CMD ["a", "b c"]\nCMD a b\nCMD [a]\nCMD [1]\nCMD []\n')
    assert [each.arguments for each in found] == [("a", "b c"), None, None, None, ()]


def test_an_onbuild_keeps_an_instruction() -> None:
    """It is executed by builds from this image."""
    (instruction,) = parse("ONBUILD RUN --mount=type=cache,target=/c x\n")
    assert instruction.triggered is not None
    assert (instruction.triggered.name, instruction.triggered.value) == ("RUN", "x")
    assert parse("ONBUILD RUN --mount=type=cache,target=/c x\n").mounts() == ()  # no stage


@pytest.mark.parametrize(
    ("text", "syntax", "escape"),
    [
        ("# syntax=docker/dockerfile:1\n# escape=`\nFROM a\n", "docker/dockerfile:1", "`"),
        ("#SYNTAX = x \n", "x", "\\"),
        ("FROM a\n# syntax=x\n", None, "\\"),
        ("# a comment\n# syntax=x\n", None, "\\"),
        ("# check=skip=all\n# syntax=x\n", "x", "\\"),
        ("# check= \n# escape=`\n", None, "`"),
        ("# check=\n# escape=`\n", None, "\\"),
        ("#\u2003escape=`\n", None, "`"),
        ("#\x1cescape=`\n", None, "\\"),
        ("# escape\xa0=`\n", None, "\\"),
    ],
)
def test_directives_stand_before_everything_else(text: str, syntax: str | None, escape: str) -> None:
    """After another comment they are comments."""
    read = parse(text)
    assert (read.syntax, read.escape) == (syntax, escape)


@pytest.mark.parametrize("value", ["\xa0`", "`\xa0", " "])
def test_blanks_of_other_scripts_are_part_of_the_escape_character(value: str) -> None:
    """BuildKit refuses it as well; in its patterns, only those of ASCII are blanks."""
    with pytest.raises(BadRequest, match="must be"):
        parse(f"# escape={value}\nFROM a\n")


# --- here-documents


@pytest.mark.parametrize(
    ("text", "heredocs"),
    [
        ("RUN <<EOF\nFROM x\n  EOF\nEOF\nCMD y\n", [Heredoc("EOF", "FROM x\n  EOF\n", expands=True)]),
        ("RUN <<-EOF\n\t\tx\n\tEOF\nCMD y\n", [Heredoc("EOF", "x\n", expands=True)]),
        ("RUN cat <<'E F' > /a\n$x\nE F\nCMD y\n", [Heredoc("E F", "$x\n", expands=False)]),
        (
            'COPY <<a <<"b" /x/\n1\na\n2\nb\nCMD y\n',
            [Heredoc("a", "1\n", expands=True), Heredoc("b", "2\n", expands=False)],
        ),
        ("RUN 3<<EOF cat <&3\nx\nEOF\nCMD y\n", [Heredoc("EOF", "x\n", expands=True)]),
        ("RUN << EOF\nx\nEOF\nCMD y\n", [Heredoc("EOF", "x\n", expands=True)]),
        ("ONBUILD RUN <<EOF\nx\nEOF\nCMD y\n", [Heredoc("EOF", "x\n", expands=True)]),
        ("RUN a \\\n <<EOF\nx \\\nEOF\nCMD y\n", [Heredoc("EOF", "x \\\n", expands=True)]),
        ('RUN "<<EOF"\nCMD y\n', []),
        ("RUN echo <<<EOF\nCMD y\n", []),
        ('RUN ["a", "<<EOF"]\nCMD y\n', []),
        ("LABEL a=<<EOF\nCMD y\n", []),
    ],
)
def test_here_documents_belong_to_their_instruction(text: str, heredocs: list[Heredoc]) -> None:
    """Several, indented, quoted, in RUN, COPY, ADD and ONBUILD; their lines are no instructions."""
    first, second = parse(text)
    assert list(first.heredocs) == heredocs
    assert second.name == "CMD"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("FROM a\nRUN <<EOF\necho hi\nEOF\n", True),
        ("FROM a\r\nRUN --mount=type=cache,target=/c python <<-'END'\r\n\tprint()\r\n\tEND\r\n", True),
        ('FROM a\ncopy <<"a" <<b /x/\n1\na\n2\nb', True),
        ("FROM a\nRUN cat <<EOF && true\nRUN true\n", False),
        ("FROM a\nRUN echo $((1 << 2))\n2\n", False),
        ("FROM a\n# RUN <<EOF\nEOF\n", False),
    ],
)
def test_here_documents_are_found(file: str, expected: bool) -> None:
    """An engine that does not know them fails at their lines."""
    assert parse(file).has_heredoc is expected
    assert not parse(file, BUILDAH_1_28).has_heredoc


# --- stages and images


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM ubuntu:22.04\nRUN true\n", ("ubuntu:22.04",)),
        ("FROM \\\n alpine:3\n", ("alpine:3",)),
        ("ARG V=1\n  from  alpine AS one\nFROM alpine\nFROM debian@sha256:0 as two\n", ("alpine", "debian@sha256:0")),
        ("FROM --platform=linux/arm64 busybox\n", ("busybox",)),
        ("FROM alpine AS tools\nFROM tools\nFROM scratch\n", ("alpine",)),
        ("FROM tools\nFROM alpine AS tools\n", ("tools", "alpine")),
        ("ARG BASE=alpine\nFROM ${BASE}\n", ("alpine",)),
        ("ARG A=x\nARG B=$A-y\nFROM $B\n", ("x-y",)),
        ('ARG A="x" B=\'y\'\nFROM "$A$B"\n', ("xy",)),
        ("ARG A=x\nFROM a AS b\nARG A=z\nFROM $A\n", ("a", "x")),
        ("FROM a\nCOPY --from=b:1 /x /y\n", ("a", "b:1")),
        ("FROM a AS one\nFROM b\nCOPY --from=one x y\nCOPY --from=0 x y\nCOPY --from=1 x y\n", ("a", "b", "1")),
        ("FROM a\nRUN --mount=type=bind,from=b,target=/b x\n", ("a", "b")),
        ("FROM a\nENV B=c\nRUN --mount=from=x/$B,target=/b x\n", ("a", "x/c")),
        ("ARG G=c\nFROM a\nARG G\nCOPY --from=x/$G b c\n", ("a", "x/c")),
        ("FROM a\nONBUILD COPY --from=b x y\n", ("a", "b")),
        ("FROM docker://a/b\n", ("a/b",)),
        ("RUN echo FROM here\n# FROM there\n", ()),
        ("", ()),
    ],
)
def test_base_images_are_all_that_a_build_may_pull(text: str, images: tuple[str, ...]) -> None:
    """Every engine reads these files the same; stages and scratch are no images."""
    assert bases(text) == images
    assert bases(text, BUILDAH_1_28) == images
    assert base_images(text) == images


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("$X", "abcab"),
        ("${X}", "abcab"),
        ("${X:-d}", "abcab"),
        ("${E:-d}", "d"),
        ("${E-d}", ""),
        ("${N-d}", "d"),
        ("${N:-${X}}", "abcab"),
        ("${X:+d}", "d"),
        ("${E:+d}z", "z"),
        ("${E+d}", "d"),
        ("${X#a}", "bcab"),
        ("${X#*b}", "cab"),
        ("${X##*b}z", "z"),
        ("${X%b}", "abca"),
        ("${X%b*}", "abca"),
        ("${X%%b*}", "a"),
        ("${X/a/z}", "zbcab"),
        ("${X//a/z}", "zbczb"),
        ("${X//a?/z}", "zcz"),
        ("'$X'z", None),
        ("a\\$X", None),
        ('"${X}"', "abcab"),
        ("${N}x", "x"),
    ],
)
def test_variables_are_expanded_as_buildkit_does(expression: str, value: str | None) -> None:
    """A quoted or escaped $ stays, and such a name is not an image."""
    text = f"ARG X=abcab\nARG E=\nFROM {expression}\n"
    if value is None:
        with pytest.raises(BadRequest, match="line 3"):
            bases(text)
    elif value:
        assert bases(text) == (value,)
    else:
        with pytest.raises(BadRequest, match="line 3"):
            bases(text)


def test_the_platform_is_in_variables() -> None:
    """BuildKit knows it in every FROM; buildah 1.28 only after an ARG, which cannot change it."""
    assert parse("FROM a-$TARGETARCH\n").base_images(platform=ARM64) == ("a-arm64",)
    assert parse("FROM a-$TARGETARCH\n", BUILDAH_1_28).base_images(platform=ARM64) == ("a-",)
    declared = "ARG TARGETARCH=x\nFROM a-$TARGETARCH\n"
    assert parse(declared, BUILDAH_1_28).base_images(platform=ARM64) == ("a-arm64",)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("FROM a-$BUILDARCH\n", "a-arm64"),
        ("FROM a-${BUILDARCH#amd64}\n", "a-arm64"),
        ("FROM a-$BUI\\\nLDARCH\n", "a-arm64"),
        ("ARG BUILDARCH\nFROM a-$BUILDARCH\n", "a-arm64"),
        ("ARG BUILDPLATFORM\nFROM a-${BUILDPLATFORM#linux/}\n", "a-arm64"),
        ("FROM a-amd64\nARG BUILDARCH\nCOPY --from=a-$BUILDARCH /x /y\n", "a-arm64"),
    ],
)
def test_images_that_the_platform_of_the_builder_selects_count_for_every_platform(text: str, other: str) -> None:
    """A builder on arm64 would pull an unchecked image, if only those of amd64 counted."""
    images = base_images(text)

    assert other in images
    assert "a-amd64" in images or "a-" in images


def test_build_arguments_win_over_defaults() -> None:
    """Of the ARGs that the file declares."""
    text = "ARG A=x\nFROM $A\nARG B=y\nCOPY --from=i/$B$C p q\n"
    assert parse(text).base_images({"A": "m", "B": "n", "C": "o"}) == ("m", "i/n")


@pytest.mark.parametrize(
    ("text", "build_args", "image"),
    [
        ("ARG BASE=public\nFROM $BASE\n", {"BASE": "private"}, "private"),
        ("ARG BASE\nFROM $BASE\n", {"BASE": "private"}, "private"),
        ("ARG TARGETARCH=private\nFROM a:$TARGETARCH\n", {}, "a:private"),
        ("FROM a:$TARGETARCH\n", {"TARGETARCH": "private"}, "a:private"),
        ("FROM a:${TARGETSTAGE:+private}\n", {}, "a:private"),
        ("ARG A=\nFROM a:pri${A/*/vate}\n", {}, "a:private"),
        ("FROM a:${TARGETSTAGE:-public} AS private\n", {"TARGETSTAGE": "private"}, "a:private"),
    ],
)
def test_the_image_that_buildkit_pulls_is_never_hidden(text: str, build_args: dict[str, str], image: str) -> None:
    """Build arguments win over defaults, defaults over the platform, and TARGETSTAGE is the stage to build."""
    assert image in base_images(text, build_args)


@pytest.mark.parametrize("word", ["A/\\*/c", "A/'*'/c", "A/$E/c", "A//x/$R", "A#\\*", "A%$B"])
def test_a_pattern_that_engines_read_differently_is_refused(word: str) -> None:
    """Quotes, escapes and an empty pattern mean different things there; BuildKit reads `$1` in a replacement."""
    heading = "ARG A=p*x\nARG E=\nARG R='$1'\nARG B='\\\\*'\n"
    with pytest.raises(BadRequest, match="pattern|replaces"):
        base_images(f"{heading}FROM a:${{{word}}}\n")


def test_a_stage_may_be_named_by_a_variable() -> None:
    """BuildKit expands first; buildah 1.28 looks for the text as it is written, and pulls an image."""
    text = "ARG N=b\nFROM a AS stage-b\nFROM stage-${N}\n"
    assert [stage.parent for stage in parse(text).stages] == [None, 0]
    assert bases(text) == ("a",)
    assert bases(text, BUILDAH_1_28) == ("a", "stage-b")


@pytest.mark.parametrize(
    ("text", "images"),
    [
        ("FROM public\nRUN cat <<CMD\nFROM private\nCMD\n", ("public", "private")),
        ("FROM public\nRUN cat <<CMD\nFROM x y\nFROM private\nCMD\n", ("public", "private")),
        ("FROM public AS Private/a\nFROM private/a\n", ("public", "private/a")),
        ("FROM public AS a-\nFROM a-$TARGETARCH\n", ("public", "a-amd64", "a-")),
        ("FROM public\nLABEL a=\\\\\nFROM private\n", ("public", "private")),
        ("# syntax=x\n# escape=`\nFROM public\nLABEL a=b \\\nFROM private\n", ("public", "private")),
    ],
)
def test_access_is_decided_by_every_reading(text: str, images: tuple[str, ...]) -> None:
    """Files that engines read differently cannot hide an image. Checked against buildah 1.28.2."""
    assert set(base_images(text)) == set(images)


@pytest.mark.parametrize(
    "name",
    ["docker-archive:/etc/passwd", "oci:/tmp/x", "containers-storage:other", "dir:/x", "oci-archive:x", "tarball:/x"],
)
def test_files_of_the_builder_are_no_images(name: str) -> None:
    """buildah 1.28.2 opens them on its host."""
    for text in (
        f"FROM {name}\n",
        f"FROM a\nCOPY --from={name} b c\n",
        f"FROM a\nRUN --mount=from={name},target=/x y\n",
    ):
        with pytest.raises(BadRequest, match="not an image in a registry"):
            base_images(text)
    assert base_images("FROM docker:27-dind\n") == ("docker:27-dind",)


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nRUN --mount=from=$X,target=/x y\n",
        "FROM a\nARG X=public\nRUN --mount=from=$X,target=/x y\n",
        "FROM a\nARG X=public\nENV Y=$X\nRUN --mount=from=$Y,target=/x y\n",
        "FROM a\nARG X=public\nARG Y=$X\nCOPY --from=$Y x y\n",
        "FROM a\nENV Y=$X\nRUN --mount=from=${Y:-public},target=/x y\n",
    ],
)
def test_an_image_that_only_a_step_knows_is_refused(text: str) -> None:
    """The environment of the base image wins over an ARG, and its author may be a stranger."""
    with pytest.raises(BadRequest, match="which the base image may set"):
        base_images(text)


@pytest.mark.parametrize("text", ["FROM\n", "FROM a b\n", "FROM a AS\n", "FROM a AS b c\n", "ARG A\nFROM $A\n"])
def test_a_from_that_no_engine_reads_is_refused(text: str) -> None:
    """With its line."""
    with pytest.raises(BadRequest, match="line [12] of the container file: FROM needs IMAGE"):
        base_images(text)


def test_a_variable_may_add_an_option_to_a_mount_of_old_engines() -> None:
    """buildah 1.28 expands the whole mount first; a base image whose TARGETARCH is `x,from=private` would be asked."""
    text = "FROM a\nARG TARGETARCH\nRUN --mount=type=cache,id=$TARGETARCH,target=/x y\n"
    assert bases(text) == ("a",)
    with pytest.raises(BadRequest, match="TARGETARCH, which the base image may set"):
        bases(text, BUILDAH_1_28)


def test_the_last_stage_leads_to_its_image() -> None:
    """Through the stages between."""
    assert parse("FROM a AS b\nFROM x\nFROM b AS c\nFROM c\n").final_image() == "a"
    assert parse("FROM a\nFROM scratch\n").final_image() is None
    assert parse("").final_image() is None


@pytest.mark.parametrize(
    ("target", "image"),
    [("b", "a"), ("B", "a"), ("mid", "x"), ("top", "a"), ("0", "a"), ("1", "x"), ("9", None), ("other", None)],
)
def test_a_target_leads_to_its_image(target: str, image: str | None) -> None:
    """By the name of the stage in any case, or its number; a target that does not exist has none."""
    file = parse("FROM a AS b\nFROM x AS mid\nFROM b AS top\nFROM scratch\n")
    assert file.final_image(target=target) == image


def test_a_target_is_the_last_stage_of_its_name() -> None:
    """As BuildKit has it; a name that is a number comes before the number."""
    assert parse("FROM a AS s\nFROM b AS S\nFROM c AS d\n").final_image(target="s") == "b"
    assert parse("FROM a\nFROM b\nFROM c AS 0\n").final_image(target="0") == "c"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM a\nRUN b\n", True),
        ("FROM a\nrun \\\n b\n", True),
        ("FROM a\nRUN <<EOF\nx\nEOF\n", True),
        ("FROM a\nCOPY <<RUN b\nRUN x\nRUN\n", False),
        ("FROM a\nLABEL b=c \\\n  RUN=d\n", False),
        ("FROM --platform=$BUILDPLATFORM a\nRUN b\nFROM scratch\n", False),
        ("FROM a\nONBUILD RUN b\n", False),
    ],
)
def test_steps_are_what_needs_a_machine_of_the_platform(text: str, expected: bool) -> None:
    """Files can be put together anywhere; a stage of another platform may cross-compile."""
    assert parse(text).runs_steps is expected


# --- mounts


def test_mounts_are_read_into_their_options() -> None:
    """Their names have synonyms; a cache may be written to."""
    read = parse(
        "FROM a AS b\nFROM c\n"
        "RUN --mount=type=cache,id=x,target=/t,ro --mount=type=bind,from=b,src=/s,dst=/d,rw=true y\n"
        "RUN --mount=type=cache,destination=/e --mount=TYPE=secret,id=k z\n"
    )
    cache, bind, other, secret = read.mounts()
    assert (cache.type, cache.id, cache.target, cache.is_writable, cache.line) == ("cache", "x", "/t", False, 3)
    assert (bind.type, bind.origin, bind.source, bind.target, bind.is_writable) == ("bind", "b", "/s", "/d", True)
    assert (other.target, other.is_writable, other.id, other.stage) == ("/e", True, None, 1)
    assert (secret.type, secret.id, secret.is_writable) == ("secret", "k", False)


def test_variables_of_mounts_are_marked_as_uncertain() -> None:
    """ENV wins over ARG, so only an ENV of the file is certain, one of an earlier stage included."""
    text = (
        "ARG G=g\nFROM a AS b\nENV E=../e\nFROM b\nARG A=x G\n"
        "RUN --mount=type=cache,id=$E,target=/$A --mount=type=cache,id=p-$G,target=/t y\n"
    )
    first, second = parse(text).mounts()
    assert (first.id, first.target, set(first.uncertain)) == ("../e", "/x", {"A"})
    assert (second.id, set(second.uncertain)) == ("p-g", {"G"})


def test_mounts_in_here_documents_are_mounts_for_old_engines() -> None:
    """A check for buildah 1.28 reads the file as buildah 1.28 does."""
    text = "FROM a\nRUN cat <<CMD\nRUN --mount=type=cache,id=../../etc,target=/m ls\nCMD\n"
    assert parse(text).mounts() == ()
    assert [mount.id for mount in parse(text, BUILDAH_1_28).mounts()] == ["../../etc"]


@pytest.mark.parametrize(
    "text",
    [
        "FROM a\nRUN --mount=type=bind,from=b,from=c,target=/x y\n",
        'FROM a\nRUN --mount=type=bind,\\"source=a,b\\",target=/x y\n',
        "FROM a\nCOPY --from=b --from=c x y\n",
        "FROM a\nFROM --platform=b --platform=c d\n",
    ],
)
def test_what_engines_read_differently_is_refused(text: str) -> None:
    """An option twice, and quotes within options."""
    with pytest.raises(BadRequest, match="line 2"):
        parse(text).mounts(), base_images(text)


# --- files as people write them


@pytest.mark.parametrize(
    ("name", "images", "stages", "steps"),
    [
        ("rocker", ("docker.io/library/ubuntu:jammy",), [None], 2),
        ("jupyter", ("quay.io/jupyter/docker-stacks-foundation",), [None], 2),
        ("nfcore", ("mambaorg/micromamba:1.5.10-noble",), [None], 1),
        (
            "go",
            (
                "tonistiigi/xx:1.5.0",
                "golang:1.23-alpine3.20",
                "alpine:3.20",
                "ghcr.io/acme/certs:1",
                "docker.io/library/busybox:1.36",
            ),
            ["xx", "base", "vendored", "build", "binary", "image-linux", None],
            3,
        ),
    ],
)
def test_files_of_well_known_projects(name: str, images: tuple[str, ...], stages: list[str | None], steps: int) -> None:
    """In the style of rocker, Jupyter's stacks, nf-core's modules and a Go program for several platforms."""
    read = parse((FILES / f"{name}.Dockerfile").read_text())
    assert set(read.base_images()) == set(images)
    assert [stage.name for stage in read.stages] == stages
    assert sum(each.name == "RUN" for each in read) == steps
    assert read.has_heredoc is (name == "rocker")


def test_the_mounts_of_a_go_program() -> None:
    """Of every type."""
    mounts = parse((FILES / "go.Dockerfile").read_text()).mounts()
    assert [mount.type for mount in mounts] == ["bind", "bind", "cache", "bind", "cache", "secret", "tmpfs", "bind"]
    assert mounts[2].get("sharing") == "locked"
    assert mounts[-1].origin == "ghcr.io/acme/certs:1"


# --- any text


PIECES = st.sampled_from(
    [
        *("FROM ", "RUN ", "COPY ", "ARG ", "ENV ", "ONBUILD ", "--from=", "--mount=", "--platform=", "a", "b:1"),
        *(" AS ", "$A", "${A:-", "${A//", "${", "}", "<<EOF", "<<-'E'", "EOF", "E", "\n", "\n", "\\\n", "\\", "`"),
        *(
            "#",
            "# escape=`\n",
            "# syntax=x\n",
            "=",
            ",",
            " ",
            "\t",
            "\r\n",
            '"',
            "'",
            "[",
            "]",
            "type=cache",
            "target=/",
        ),
    ]
)
ANY_TEXT = st.one_of(st.text(), st.lists(PIECES, max_size=60).map("".join))


@given(ANY_TEXT)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No other error; nothing of it is lost between the instructions."""
    for dialect in DIALECTS:
        try:
            read = parse(text, dialect)
        except BadRequest:
            continue
        assert all(one.last_line < other.line for one, other in itertools.pairwise(read))
        for question in (read.base_images, read.mounts, lambda read=read: read.stages, read.final_image):
            try:
                question()
            except BadRequest as error:
                assert "line" in str(error)
        assert read.runs_steps in {True, False}


WORD = st.text("abcdefgh./:-_", min_size=1, max_size=8).filter(lambda text: not text.startswith(("-", "#")))
LINE = st.lists(WORD, min_size=1, max_size=4).map(" ".join)


@st.composite
def written(draw: st.DrawFn) -> tuple[str, list[tuple[str, str, list[str]]]]:
    """A file, and its instructions: name, value and here-documents."""
    text, expected = "", []
    for number in range(draw(st.integers(1, 6))):
        text += draw(st.sampled_from(["", "\n", "# c\n", "  \t\n"]))
        name, words = (
            draw(st.sampled_from(["RUN", "LABEL", "COPY", "CMD"])),
            draw(st.lists(LINE, min_size=1, max_size=3)),
        )
        glue = draw(st.sampled_from([" \\\n", " \\\n# c\n", " \\\n\n"]))
        text += f"{draw(st.sampled_from([name, name.lower()]))} {glue.join(words)}"
        value, bodies = " ".join(words), list[str]()
        if name in {"RUN", "COPY"} and draw(st.booleans()):
            body = "".join(f"{line}\n" for line in draw(st.lists(LINE, max_size=3)))
            text, value = f"{text} <<END{number}\n{body}END{number}", f"{value} <<END{number}"
            bodies.append(body)
        text += draw(st.sampled_from(["\n", "\r\n"])) if not bodies else "\n"
        expected.append((name, value, bodies))
    return text, expected


@given(written())
def test_what_was_written_is_read(file: tuple[str, list[tuple[str, str, list[str]]]]) -> None:
    """Instructions are joined over continuations and comments, and here-documents stay whole."""
    text, expected = file
    read = parse(text)
    assert [(each.name, each.value, [doc.content for doc in each.heredocs]) for each in read] == expected


HOSTILE = {
    "blanks": "FROM " + " " * MAX_SIZE,
    "escapes": "\\ " * MAX_SIZE,
    "continuations": "RUN a" + "\\\n" * MAX_SIZE,
    "comments": "#" * MAX_SIZE,
    "here-documents": "FROM a\n" + "".join(f"RUN <<E{at}\n" for at in range(4900)) + "x\n" * MAX_SIZE,
    "variables": "FROM a\nENV " + "".join(f"A{at}=$A{at - 1}x " for at in range(40_000)),
    "stages": "FROM a AS s0\nENV "
    + "A=b " * 60_000
    + "\n"
    + "".join(f"FROM s{at} AS s{at + 1}\n" for at in range(198)),
    "doubling": "ARG A0=aaaa\n" + "".join(f"ARG A{at + 1}=$A{at}$A{at}\n" for at in range(4000)) + "FROM a$A30\n",
    "patterns": f"ARG A={'a' * 120}\n" + "ARG B=${A//a*a*a*a*a*a*a*b/c}\n" * 4900 + "FROM x\n",
    "replacements": f"ARG A={'a' * 4000}\nFROM a\nARG A\nENV " + "B=${A//a/b} " * 40_000,
    "nesting": "FROM " + "${a:-" * 100_000,
    "quotes": "FROM a\nENV " + '"' * 400_000,
    "mounts": "FROM a\n" + "RUN --mount=type=cache,id=$A,target=/a x\n" * 4900,
    "triggers": "FROM a\n" + "ONBUILD " * 60_000,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_takes_long(name: str) -> None:
    """A process that answers many clients reads it. An eighth of the limit; the time grows with the size."""
    text = HOSTILE[name][: MAX_SIZE // 8]
    before = time.process_time()
    for read in (lambda: base_images(text), lambda: [each.mounts() for each in readings(text)]):
        try:
            read()
        except BadRequest as error:
            assert len(str(error)) < 300
    assert time.process_time() - before < 2.5


@pytest.mark.parametrize(
    "text", ["FROM a\n" * 6000, "a" * (MAX_SIZE + 1), "RUN " + "--a " * 60, "# escape=x\nFROM a\n"]
)
def test_what_is_too_much_is_refused(text: str) -> None:
    """Instructions, size, flags; and an escape character that none is."""
    with pytest.raises(BadRequest):
        readings(text)
