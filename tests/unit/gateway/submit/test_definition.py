"""Translation of Apptainer's definition files: the Dockerfile for the engine, and the rest of the SIF file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.definition import is_definition, translate
from gateway.submit.builds.freeze import freeze_image, freeze_recipe
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.api.packages import Packages, PackageType
from swell.errors import BadRequest
from swell.recipes.packages import make_recipe

HEX = "ab" * 32
HEADER = "Bootstrap: docker\nFrom: debian:12\n"


def steps(text: str) -> list[str]:
    """The instructions after FROM."""
    return translate(text).containerfile.splitlines()[1:]


def script(text: str) -> str:
    """The script of %post without its fixed first lines."""
    translation = translate(text)
    mount = "--mount=type=bind,source=singularity.post,target=/singularity.post"
    assert translation.containerfile.splitlines()[-1] == f'RUN {mount} ["/bin/sh", "-e", "/singularity.post"]'
    return translation.definition.post.split("91-environment.sh\n", 2)[2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER, True),
        ("# a comment\n\n  BootStrap : docker\nFrom: a\n", True),
        ("FROM debian\n", False),
        ("# Bootstrap: docker\nFROM debian\n", False),
        ("FROM debian\nRUN echo 'Bootstrap: docker'\n", False),
    ],
)
def test_a_definition_begins_with_its_bootstrap(text: str, expected: bool) -> None:
    """Definition files and Dockerfiles are sent in the same member."""
    assert is_definition(text) is expected


def test_a_dockerfile_is_unchanged() -> None:
    """A SIF file can be built from a Dockerfile too."""
    translation = translate("FROM debian\nRUN true\n")

    assert (translation.containerfile, translation.definition.text) == ("FROM debian\nRUN true\n",) * 2


def test_a_header_alone_is_its_image() -> None:
    """A definition file without sections is its base image."""
    assert translate(HEADER).containerfile == "FROM docker.io/library/debian:12\n"


def test_files_are_copied_before_commands_run() -> None:
    """As Apptainer does, for sections in any order."""
    text = HEADER + "%post\n  a\n%files\n  x /y\n%post\n  b\n"

    assert steps(text)[:3] == ["USER 0", "WORKDIR /", 'COPY ["x", "/y"]']
    assert script(text) == "  a\n  b\n"


def test_scripts_are_unchanged() -> None:
    """A script is one step, with its exact text."""
    body = "    echo \"a\n  b\" \\\n      '$x' \x0c \u2028 {{ no }}\n\n    # a comment\n"
    definition = translate(
        f"{HEADER}%environment\n{body}%runscript\n{body}%startscript\n{body}%help\n{body}"
    ).definition

    assert (definition.environment, definition.runscript, definition.startscript, definition.help) == (body,) * 4
    assert script(f"{HEADER}%post\n{body}") == body


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("{{wave_context_dir}}/conda.yml /scratch/conda.yml", 'COPY ["conda.yml", "/scratch/conda.yml"]'),
        ("dir /opt/", 'COPY ["dir", "/opt/dir"]'),
        ("dir", 'COPY ["dir", "/dir"]'),
        (". /opt/all", 'COPY [".", "/opt/all"]'),
        ("{{wave_context_dir}}/* /opt/", 'COPY ["*", "/opt/"]'),
        ('"two words" /opt/x  # a comment', 'COPY ["two words", "/opt/x"]'),
        (f"{{{{wave_context_dir}}}}/layer-{HEX}/* /", f"ADD layer-{HEX}.tar.gz /"),
    ],
)
def test_files_are_copied_from_the_context(line: str, step: str) -> None:
    """Paths are relative to the build context."""
    assert steps(f"{HEADER}%files\n    {line}\n\n    # nothing\n")[2:] == [step]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("Bootstrap: localimage\nFrom: a.sif\n", "localimage"),
        ("Bootstrap: docker\n", "From"),
        ("Bootstrap: docker\nFrom: a b\n", "a b"),
        (HEADER + "Registry: quay.io\n", "registry"),
        (HEADER + "what is this\n", "what is this"),
        (HEADER + "%setup\n    rm -rf /\n", "%setup"),
        (HEADER + "%appinstall foo\n", "%appinstall"),
        (HEADER + "%test\n    true\n", "%test"),
        (HEADER + "%post -c /bin/bash\n", "-c /bin/bash"),
        (HEADER + "%files from build\n", "from build"),
        (HEADER + "%post\n    a\n\nBootstrap: docker\nFrom: b\n", "several stages"),
        (HEADER + "%files\n    /etc/shadow /x\n", "/etc/shadow"),
        (HEADER + "%files\n    ../x /x\n", "../x"),
        (HEADER + "%files\n    a b c\n", "a b c"),
        (HEADER + "%files\n    'a\n", "quotation"),
        (HEADER + "%files\n    $HOME/x /x\n", "plain names"),
    ],
)
def test_unsupported_parts_are_refused(text: str, says: str) -> None:
    """The message names the part."""
    with pytest.raises(BadRequest) as refused:
        translate(text)

    assert says in str(refused.value)


def test_labels_have_a_name_and_a_value() -> None:
    """Quotes around the value are removed."""
    labels = translate(HEADER + '%labels\n  Author  some body\n  v "1.2"\n  # no\n  empty\n').definition.labels

    assert labels == {"Author": "some body", "v": "1.2", "empty": ""}


@pytest.mark.parametrize("template", ["conda/micromamba:v1", "conda/micromamba:v2", "conda/pixi:v1"])
def test_generated_definition_files_are_supported(template: str) -> None:
    """The server's own templates use only supported parts."""
    packages = Packages(type=PackageType.CONDA, entries=("samtools=1.17",), channels=("conda-forge",))
    translation = translate(make_recipe(packages, template, sif=True).containerfile)

    assert 'COPY ["conda.yml", "/scratch/conda.yml"]' in translation.containerfile
    assert translation.definition.environment


def test_a_frozen_entrypoint_replaces_the_runscript() -> None:
    """The variables are added to the environment."""
    config = ContainerConfig(
        entrypoint=("/x",), env=("A=1",), layers=(ContainerLayer("", gzip_digest=f"sha256:{HEX}"),)
    )
    text = HEADER + "%environment\n    export B=2\n%runscript\n    echo old\n"
    translation = translate(freeze_recipe(text, config, ("/own",), sif=True))

    assert "echo old" not in translation.definition.runscript
    assert 'exec /x "$@"' in translation.definition.runscript
    assert [word in translation.definition.environment for word in ("B=2", "A=1", "WAVE_ENTRY_CHAIN=/own")] == [
        True
    ] * 3
    assert f"ADD layer-{HEX}.tar.gz /" in translation.containerfile


def test_a_frozen_image_is_the_base_image() -> None:
    """A freeze of an image needs no other instruction."""
    translation = translate(freeze_image("quay.io/a/b:1", ContainerConfig(env=("A=1",)), None, sif=True))

    assert translation.containerfile == "FROM quay.io/a/b:1\n"


@given(st.text(max_size=200))
def test_any_definition_is_translated_or_refused(text: str) -> None:
    """A script of any text is one step."""
    try:
        translation = translate(f"{HEADER}%post\n{text}")
    except BadRequest:
        return
    assert len(translation.containerfile.splitlines()) <= 4


@pytest.mark.timeout(60)
@pytest.mark.parametrize("line", ["From: x{}x", "From: x\n%post x{}x"], ids=["field", "section"])
def test_long_blanks_are_read_at_once(line: str) -> None:
    """A file of 95 KB with blanks inside a line stopped its gateway for minutes."""
    with pytest.raises(BadRequest):
        translate(f"Bootstrap: docker\n{line.format(' ' * 95_000)}\n")


@pytest.mark.timeout(60)
def test_many_lines_are_read_at_once() -> None:
    """Each line copied all of the lines before it."""
    assert script(f"{HEADER}%post\n" + "\n" * 1_000_000 + "true\n").endswith("true\n")
