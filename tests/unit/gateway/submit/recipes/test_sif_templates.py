"""Generated definition files: the sections of each template for a SIF file."""

import pytest

from swell.api.packages import CondaOpts, CranOpts, Packages, PackageType, PixiOpts
from swell.recipes.packages import make_recipe

COMMANDS = ("touch /one", "touch /two")
CONDA = CondaOpts(mamba_image="mamba:2", base_image="debian:12", base_packages="procps-ng", commands=COMMANDS)
PIXI = PixiOpts(pixi_image="pixi:1", base_image="debian:12", base_packages="procps-ng", commands=COMMANDS)
CRAN = CranOpts(r_image="rocker/r-ver:4.4.1", base_packages="littler", commands=COMMANDS)


def sections(packages: Packages, template: str | None = None) -> list[tuple[str, list[str]]]:
    """The sections in their order, each with its lines; the first is the header."""
    parts: list[tuple[str, list[str]]] = [("head", [])]
    for line in make_recipe(packages, template, True).containerfile.splitlines():
        if line.startswith("%"):
            parts.append((line[1:], []))
        else:
            assert parts[-1][0] == "head" or line.startswith("    ")
            parts[-1][1].append(line.strip(" \\").removeprefix("&& "))
    return parts


def conda(*entries: str, **more: object) -> Packages:
    return Packages(type=PackageType.CONDA, entries=entries, conda_opts=CONDA, pixi_opts=PIXI, **more)  # type: ignore[arg-type]


def test_micromamba_v1() -> None:
    """Version 1 is based on micromamba's image."""
    assert sections(conda("bwa"), "conda/micromamba:v1") == [
        ("head", ["BootStrap: docker", "From: mamba:2"]),
        ("files", ["{{wave_context_dir}}/conda.yml /scratch/conda.yml"]),
        (
            "post",
            [
                "exec 2>&1",
                "micromamba install -y -n base -f /scratch/conda.yml",
                "micromamba install -y -n base procps-ng",
                "micromamba env export --name base --explicit > environment.lock",
                "echo '>> CONDA_LOCK_START'",
                "cat environment.lock",
                "echo '<< CONDA_LOCK_END'",
                "micromamba clean -a -y",
            ],
        ),
        ("environment", ['export PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"']),
        ("post", list(COMMANDS)),
    ]


def test_micromamba_v2_has_one_stage() -> None:
    """An unprivileged builder cannot keep owners and modes between stages."""
    parts = sections(conda("bwa"))
    assert parts[0] == ("head", ["BootStrap: docker", "From: mamba:2"])
    assert parts[1] == ("files", ["{{wave_context_dir}}/conda.yml /scratch/conda.yml"])
    post = parts[2][1]
    assert post[1:3] == [
        "micromamba install -y -n base conda-forge::which",
        'ln -sf "$MAMBA_ROOT_PREFIX/bin/which" /usr/bin/which',
    ]
    assert "if micromamba install -y -n base -f /scratch/conda.yml > /tmp/mamba.log 2>&1; then cat" in post[3]
    assert "CONDA_OVERRIDE_CUDA=99 micromamba install -y -n base -f /scratch/conda.yml" in post[4]
    assert post[5:] == [
        "micromamba install -y -n base procps-ng",
        "micromamba clean -a -y",
        "micromamba env export --name base --explicit > environment.lock",
        "echo '>> CONDA_LOCK_START'",
        "cat environment.lock",
        "echo '<< CONDA_LOCK_END'",
    ]
    environment = ["export MAMBA_ROOT_PREFIX=/opt/conda", 'export PATH="$MAMBA_ROOT_PREFIX/bin:$PATH"']
    assert parts[3:] == [("environment", environment), ("post", list(COMMANDS))]


@pytest.mark.parametrize("template", ["conda/micromamba:v1", "conda/micromamba:v2"])
def test_a_lock_file_by_url_needs_no_files(template: str) -> None:
    """Channels are arguments, in their order."""
    parts = dict(sections(conda("https://x.org/a.lock", channels=("a", "b")), template)[:3])
    assert "files" not in parts
    assert any("micromamba install -y -n base -c a -c b -f https://x.org/a.lock" in line for line in parts["post"])


def test_pixi() -> None:
    """The shell hook of pixi sets the environment."""
    assert sections(conda("bwa"), "conda/pixi:v1") == [
        ("head", ["BootStrap: docker", "From: pixi:1"]),
        ("files", ["{{wave_context_dir}}/conda.yml /scratch/conda.yml"]),
        (
            "post",
            [
                "mkdir -p /opt/wave",
                "cd /opt/wave",
                "exec 2>&1",
                "pixi init --import /scratch/conda.yml",
                "pixi add conda-forge::which",
                "pixi add procps-ng",
                "pixi shell-hook > /shell-hook.sh",
                "echo '>> CONDA_LOCK_START'",
                "cat /opt/wave/pixi.lock",
                "echo '<< CONDA_LOCK_END'",
            ],
        ),
        ("environment", [". /shell-hook.sh"]),
        ("post", list(COMMANDS)),
    ]


def test_cran() -> None:
    """R packages are installed in %post."""
    packages = Packages(type=PackageType.CRAN, entries=("dplyr", "bioc::DESeq2"), cran_opts=CRAN)
    head, (_, post), environment, more = sections(packages)
    assert head == ("head", ["BootStrap: docker", "From: rocker/r-ver:4.4.1"])
    assert post[:2] == ["apt-get update", "apt-get install -y littler"]
    assert [line.split(" ")[0] for line in post[2:-1]] == ["Rscript", "Rscript"]
    assert (post[2].split()[-1], post[3].split()[-1]) == ("dplyr", "DESeq2")
    assert post[-1].startswith("rm -rf /tmp/downloaded_packages")
    assert environment == ("environment", ["export R_LIBS_USER=/usr/local/lib/R/site-library"])
    assert more == ("post", list(COMMANDS))


def test_without_base_packages_the_step_is_left_out() -> None:
    """An empty install command would fail."""
    opts = CondaOpts(mamba_image="mamba:2", base_packages=None)
    recipe = make_recipe(
        Packages(type=PackageType.CONDA, entries=("bwa",), conda_opts=opts), "conda/micromamba:v1", True
    )
    assert recipe.containerfile.count("micromamba install") == 1
