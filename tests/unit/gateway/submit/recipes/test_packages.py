"""Packages become recipes by the requested template, or an error that says what to change."""

import base64

import pytest

from swell.api.packages import MAMBA_IMAGE, CondaOpts, CranOpts, Packages, PackageType, PixiOpts
from swell.errors import BadRequest, TooLarge
from swell.recipes.packages import MAX_ENTRIES, MAX_TEXT, Template, choose_template, make_recipe

CONDA, CRAN = PackageType.CONDA, PackageType.CRAN
V1, V2, PIXI, INSTALLR = Template.MICROMAMBA_V1, Template.MICROMAMBA_V2, Template.PIXI_V1, Template.INSTALLR_V1

SAMTOOLS = Packages(type=CONDA, entries=("samtools=1.17",))
URL = Packages(type=CONDA, entries=("https://locks.example.org/a.lock",), channels=("conda-forge", "bioconda"))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def conda(opts: CondaOpts) -> Packages:
    return Packages(type=CONDA, entries=("samtools",), conda_opts=opts)


@pytest.mark.parametrize(
    ("kind", "name", "template"),
    [
        (CONDA, None, V2),
        (CONDA, "", V2),
        (CRAN, None, INSTALLR),
        (CONDA, "conda/micromamba:v1", V1),
        (CONDA, "micromamba/v1", V1),
        (CONDA, "conda-micromamba/v1", V1),
        (CONDA, "micromamba/v2", V2),
        (CONDA, "conda-micromamba/v2", V2),
        (CONDA, "pixi/v1", PIXI),
        (CONDA, "conda-pixi/v1", PIXI),
        (CRAN, "installr/v1", INSTALLR),
        (CRAN, "cran-installr/v1", INSTALLR),
    ],
)
def test_templates_have_all_documented_spellings(kind: PackageType, name: str | None, template: Template) -> None:
    """Wave's documentation has spellings that its server refuses."""
    assert choose_template(kind, name) is template


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        (None, None, "packages.type is missing"),
        (CONDA, "conda/micromamba:v3", "choose one of conda/micromamba:v1"),
        (CRAN, "conda/micromamba:v1", "for CONDA packages"),
        (CONDA, "cran/installr:v1", "for CRAN packages"),
    ],
)
def test_a_template_for_other_packages_is_refused(kind: PackageType | None, name: str | None, says: str) -> None:
    """The message says what to change."""
    with pytest.raises(BadRequest, match=says):
        choose_template(kind, name)


def test_a_recipe_has_the_canonical_name_of_its_template() -> None:
    """Records show one spelling of all that clients send."""
    assert make_recipe(SAMTOOLS, "pixi/v1", False).template == "conda/pixi:v1"


def test_packages_are_in_the_environment_file_only() -> None:
    """The environment is never part of a command."""
    recipe = make_recipe(SAMTOOLS, None, False)
    assert recipe.environment == "dependencies:\n- samtools=1.17\n"
    assert "samtools" not in recipe.containerfile


def test_a_lock_file_by_url_needs_no_file() -> None:
    """The channels become arguments; otherwise they are in the environment file."""
    recipe = make_recipe(URL, None, False)
    assert recipe.environment is None
    assert "-c conda-forge -c bioconda -f https://locks.example.org/a.lock" in recipe.containerfile
    assert "conda.yml" not in recipe.containerfile


@pytest.mark.parametrize("sif", [False, True])
@pytest.mark.parametrize("template", [V1, V2])
def test_an_explicit_list_has_the_extension_txt(template: Template, sif: bool) -> None:
    """Micromamba derives the format from the extension."""
    explicit = "@EXPLICIT\nhttps://conda.example.org/zlib-1.tar.bz2\n"
    recipe = make_recipe(Packages(type=CONDA, environment=encoded(explicit)), template, sif)
    assert recipe.environment == explicit
    assert "conda.txt" in recipe.containerfile
    assert "-f /tmp/conda.yml" not in recipe.containerfile


def test_an_environment_wins_over_entries() -> None:
    """As in Wave."""
    recipe = make_recipe(
        Packages(type=CONDA, environment=encoded("dependencies: [bwa]"), entries=("samtools",)), None, False
    )
    assert recipe.environment == "dependencies:\n- bwa\n"


@pytest.mark.parametrize(
    ("image", "used"),
    [
        (MAMBA_IMAGE, "mambaorg/micromamba:2-amazon2023"),
        ("example.org/x/micromamba:1-noble", "mambaorg/micromamba:2-amazon2023"),
        ("mambaorg/micromamba:1", "mambaorg/micromamba:1"),
        ("mambaorg/micromamba:2.0.5", "mambaorg/micromamba:2.0.5"),
        ("example.org/mine:1.5", "example.org/mine:1.5"),
        (None, "mambaorg/micromamba:2-amazon2023"),
        ("", "mambaorg/micromamba:2-amazon2023"),
    ],
)
def test_version_2_replaces_images_of_micromamba_1(image: str | None, used: str) -> None:
    """Clients always send their default, an image of version 1."""
    assert f"FROM {used} AS build\n" in make_recipe(conda(CondaOpts(mamba_image=image)), V2, False).containerfile


def test_version_1_keeps_the_image() -> None:
    """Version 1 of the template is for micromamba 1."""
    assert make_recipe(conda(CondaOpts()), V1, False).containerfile.startswith(f"FROM {MAMBA_IMAGE}\n")


@pytest.mark.parametrize("base_packages", [None, "", "  "])
def test_without_base_packages_there_is_no_step(base_packages: str | None) -> None:
    """Null removes the step, as in Wave."""
    assert "procps" in make_recipe(conda(CondaOpts()), None, False).containerfile
    assert "procps" not in make_recipe(conda(CondaOpts(base_packages=base_packages)), None, False).containerfile


def test_options_of_other_tools_are_ignored() -> None:
    """Clients may send the options of all tools."""
    both = Packages(type=CONDA, entries=("bwa",), pixi_opts=PixiOpts(base_image="debian:12"))
    assert "debian:12" not in make_recipe(both, V2, False).containerfile
    assert "FROM debian:12 AS final\n" in make_recipe(both, PIXI, False).containerfile


@pytest.mark.parametrize("sif", [False, True])
@pytest.mark.parametrize("template", [V1, V2, PIXI])
def test_commands_come_last(template: Template, sif: bool) -> None:
    """They are lines of the recipe's language, in its last stage."""
    commands = ("RUN echo one", "RUN echo two")
    opts = CondaOpts(commands=commands), PixiOpts(commands=commands)
    packages = Packages(type=CONDA, entries=("bwa",), conda_opts=opts[0], pixi_opts=opts[1])
    last = [line.strip() for line in make_recipe(packages, template, sif).containerfile.splitlines()[-2:]]
    assert last == ["RUN echo one", "RUN echo two"]


@pytest.mark.parametrize("template", [V1, V2, PIXI])
@pytest.mark.parametrize("sif", [False, True])
def test_every_conda_template_prints_its_lock_file(template: Template, sif: bool) -> None:
    """The builder extracts it from the log by the marks."""
    recipe = make_recipe(SAMTOOLS, template, sif).containerfile
    assert recipe.index(">> CONDA_LOCK_START") < recipe.index("cat ") or template is V2
    assert (
        recipe.index(">> CONDA_LOCK_START")
        < recipe.index(".lock", recipe.index("START"))
        < recipe.index("CONDA_LOCK_END")
    )


@pytest.mark.parametrize("template", [V1, V2, PIXI])
def test_a_definition_file_has_a_placeholder_for_the_context(template: Template) -> None:
    """Only the builder knows the path."""
    recipe = make_recipe(SAMTOOLS, template, True).containerfile
    assert recipe.startswith("BootStrap: docker\nFrom: ")
    assert "{{wave_context_dir}}/conda.yml /scratch/conda.yml" in recipe


@pytest.mark.parametrize(
    "packages",
    [
        Packages(type=CONDA),
        Packages(type=CONDA, entries=("", "  ")),
        Packages(type=CRAN),
        Packages(type=CRAN, environment=encoded("dependencies: [r-base]")),
        Packages(type=CONDA, entries=("samtools\nbwa",)),
        Packages(type=CONDA, entries=("samtools",), channels=("a\x1bb",)),
        Packages(type=CONDA, entries=("samtools",), channels=("--override-channels",)),
        Packages(type=CONDA, environment="dependencies: []"),
        Packages(type=CONDA, environment=base64.b64encode(b"\xff\xfe").decode()),
        conda(CondaOpts(base_packages="procps-ng --yes")),
        conda(CondaOpts(base_packages="procps-ng\nRUN id")),
        conda(CondaOpts(base_image="ubuntu:24.04 AS x\nRUN id")),
        conda(CondaOpts(base_image="docker://ubuntu")),
        conda(CondaOpts(mamba_image="$IMAGE")),
        conda(CondaOpts(commands=("RUN \0",))),
        Packages(type=CRAN, entries=("dplyr",), channels=("conda-forge",)),
        Packages(type=CRAN, entries=("dplyr); system('id'",)),
        Packages(type=CRAN, entries=("bioc::",)),
        Packages(type=CRAN, entries=("dplyr",), channels=('https://r.example.org/"',)),
        Packages(type=CRAN, entries=("dplyr",), channels=("https://r.example.org/\\",)),
        Packages(type=CRAN, entries=("dplyr",), cran_opts=CranOpts(r_image="no image")),
        Packages(type=CRAN, entries=("dplyr",), cran_opts=CranOpts(base_packages="-o Dir::Etc=x")),
        Packages(
            type=CRAN, entries=("dplyr",), channels=tuple(f"https://r{n}.example.org/{'x' * 90}" for n in range(99))
        ),
    ],
)
def test_invalid_packages_are_refused(packages: Packages) -> None:
    """In Wave some of these fail in the build, and some change the recipe's instructions."""
    with pytest.raises(BadRequest):
        make_recipe(packages, None, False)


@pytest.mark.parametrize(
    "packages", [URL, Packages(type=CONDA, environment=encoded("@EXPLICIT\nhttps://x.example.org/a-1-0.conda\n"))]
)
def test_pixi_does_not_support_lock_files(packages: Packages) -> None:
    """It cannot import them; the message names a template that can."""
    with pytest.raises(BadRequest, match="conda/micromamba:v2"):
        make_recipe(packages, "conda/pixi:v1", False)


@pytest.mark.parametrize(
    "packages",
    [
        Packages(type=CONDA, environment="A" * (MAX_TEXT + 4)),
        Packages(type=CONDA, entries=("a",) * (MAX_ENTRIES + 1)),
        Packages(type=CONDA, entries=("a" * (MAX_TEXT + 1),)),
        Packages(type=CONDA, entries=("a",), channels=("a" * MAX_TEXT, "b")),
        conda(CondaOpts(commands=("RUN " + "a" * MAX_TEXT,))),
        conda(CondaOpts(base_packages="a" * (MAX_TEXT + 1))),
    ],
)
def test_all_lists_have_a_limit(packages: Packages) -> None:
    """A request must not become a recipe of megabytes."""
    with pytest.raises(TooLarge):
        make_recipe(packages, None, False)


def test_each_kind_of_r_package_has_its_installer() -> None:
    """Each process sets the repositories first; in Wave only an earlier process does."""
    entries = ("dplyr", "ggplot2=3.4.1", "bioc::DESeq2", "tidyverse/glue@main", "https://r.example.org/x_1.tar.gz")
    recipe = make_recipe(Packages(type=CRAN, entries=entries, channels=("cran",)), None, False).containerfile
    steps = [line.removeprefix(" && ").rstrip(" \\") for line in recipe.splitlines() if "Rscript" in line]

    assert all(step.startswith("""Rscript -e 'options(repos = c(CRAN = "https://cloud.r-""") for step in steps)
    assert [(step.split("'")[-2].split("(")[0].split("::")[-1], step.split("'")[-1]) for step in steps] == [
        ("for ", " ggplot2=3.4.1"),
        ("absent <- setdiff", " dplyr"),
        ("absent <- setdiff", " DESeq2"),
        ("install_github", " tidyverse/glue@main"),
        ("install_url", " https://r.example.org/x_1.tar.gz"),
    ]


def test_the_channel_bioconductor_serves_all_names() -> None:
    """Its packages need no prefix then."""
    packages = Packages(type=CRAN, entries=("DESeq2",), channels=("Bioconductor", "https://r.example.org/"))
    recipe = make_recipe(packages, None, False).containerfile
    assert "BiocManager::install" in recipe
    assert 'repos = c(CRAN = "https://r.example.org/")' in recipe
    assert "install.packages(commandArgs" not in recipe
