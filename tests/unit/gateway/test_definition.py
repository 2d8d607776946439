"""Apptainer's definition files: what the engine builds of them, and what is kept for the SIF file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.definition import is_definition, translate
from gateway.submit.freeze import freeze_image, freeze_recipe
from gateway.submit.recipes.packages import make_recipe
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.api.packages import Packages, PackageType
from swell.errors import BadRequest

HEX = "ab" * 32
HEADER = "Bootstrap: docker\nFrom: debian:12\n"


def steps(text: str) -> list[str]:
    """The lines of the container file behind its FROM."""
    return translate(text).containerfile.splitlines()[1:]


def script(text: str) -> str:
    """What the one step of *text* has a shell do, behind what is always done first."""
    made = translate(text)
    mount = "--mount=type=bind,source=singularity.post,target=/singularity.post"
    assert made.containerfile.splitlines()[-1] == f'RUN {mount} ["/bin/sh", "-e", "/singularity.post"]'
    return made.definition.post.split("91-environment.sh\n", 2)[2]


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
    """Both kinds come in the same member, for the same format."""
    assert is_definition(text) is expected


def test_a_dockerfile_is_built_as_it_is() -> None:
    made = translate("FROM debian\nRUN true\n")

    assert (made.containerfile, made.definition.text) == ("FROM debian\nRUN true\n",) * 2


def test_a_header_alone_is_its_image() -> None:
    assert translate(HEADER).containerfile == "FROM docker.io/library/debian:12\n"


def test_files_come_before_commands_wherever_they_stand() -> None:
    text = HEADER + "%post\n  a\n%files\n  x /y\n%post\n  b\n"

    assert steps(text)[:3] == ["USER 0", "WORKDIR /", 'COPY ["x", "/y"]']
    assert script(text) == "  a\n  b\n"


def test_scripts_are_kept_to_the_letter() -> None:
    body = "    echo \"a\n  b\" \\\n      '$x' \x0c \u2028 {{ no }}\n\n    # a comment\n"
    made = translate(f"{HEADER}%environment\n{body}%runscript\n{body}%startscript\n{body}%help\n{body}").definition

    assert (made.environment, made.runscript, made.startscript, made.help) == (body,) * 4
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
def test_what_cannot_be_built_is_refused_by_its_name(text: str, says: str) -> None:
    with pytest.raises(BadRequest) as refused:
        translate(text)

    assert says in str(refused.value)


def test_labels_have_a_name_and_a_text() -> None:
    labels = translate(HEADER + '%labels\n  Author  some body\n  v "1.2"\n  # no\n  empty\n').definition.labels

    assert labels == {"Author": "some body", "v": "1.2", "empty": ""}


@pytest.mark.parametrize("template", ["conda/micromamba:v1", "conda/micromamba:v2", "conda/pixi:v1"])
def test_the_definitions_of_packages_can_be_built(template: str) -> None:
    """Those that we write ourselves have nothing that we refuse."""
    packages = Packages(type=PackageType.CONDA, entries=("samtools=1.17",), channels=("conda-forge",))
    made = translate(make_recipe(packages, template, sif=True).containerfile)

    assert 'COPY ["conda.yml", "/scratch/conda.yml"]' in made.containerfile
    assert made.definition.environment


def test_what_was_frozen_takes_the_place_of_what_starts_it() -> None:
    """As an entrypoint does; the variables come on top."""
    config = ContainerConfig(
        entrypoint=("/x",), env=("A=1",), layers=(ContainerLayer("", gzip_digest=f"sha256:{HEX}"),)
    )
    text = HEADER + "%environment\n    export B=2\n%runscript\n    echo old\n"
    made = translate(freeze_recipe(text, config, ("/own",), sif=True))

    assert "echo old" not in made.definition.runscript
    assert 'exec /x "$@"' in made.definition.runscript
    assert [word in made.definition.environment for word in ("B=2", "A=1", "WAVE_ENTRY_CHAIN=/own")] == [True] * 3
    assert f"ADD layer-{HEX}.tar.gz /" in made.containerfile


def test_a_frozen_image_begins_from_it() -> None:
    made = translate(freeze_image("quay.io/a/b:1", ContainerConfig(env=("A=1",)), None, sif=True))

    assert made.containerfile == "FROM quay.io/a/b:1\n"


@given(st.text(max_size=200))
def test_whatever_stands_in_a_definition_is_answered(text: str) -> None:
    """It is translated or refused, never anything else; and a script is one step, whatever it says."""
    try:
        made = translate(f"{HEADER}%post\n{text}")
    except BadRequest:
        return
    assert len(made.containerfile.splitlines()) <= 4
