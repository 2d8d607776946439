"""What clients send under `packages`: names of packages, and how to put them into an image.

The defaults are Wave's; base packages that are explicitly null or empty are none.
Source: Wave's public API, https://docs.seqera.io/wave/api
"""

from enum import StrEnum

from msgspec import Struct

MAMBA_IMAGE = "mambaorg/micromamba:1.5.10-noble"
PIXI_IMAGE = "public.cr.seqera.io/wave/pixi:0.61.0-noble"
R_IMAGE = "rocker/r-ver:4.4.1"
BASE_IMAGE = "ubuntu:24.04"
BASE_PACKAGES = "conda-forge::procps-ng"


class PackageType(StrEnum):
    CONDA = "CONDA"
    CRAN = "CRAN"


class CondaOpts(Struct, frozen=True, rename="camel"):
    """How micromamba builds an environment; `commands` are lines for the end of the container file."""

    mamba_image: str | None = MAMBA_IMAGE
    commands: tuple[str, ...] | None = None
    base_packages: str | None = BASE_PACKAGES
    base_image: str | None = BASE_IMAGE


class PixiOpts(Struct, frozen=True, rename="camel"):
    """How pixi builds an environment."""

    pixi_image: str | None = PIXI_IMAGE
    commands: tuple[str, ...] | None = None
    base_packages: str | None = BASE_PACKAGES
    base_image: str | None = BASE_IMAGE


class CranOpts(Struct, frozen=True, rename="camel"):
    """How R packages are installed; `base_packages` are Debian's."""

    r_image: str | None = R_IMAGE
    commands: tuple[str, ...] | None = None
    base_packages: str | None = "littler r-cran-docopt"


class Packages(Struct, frozen=True, rename="camel"):
    """Packages by `entries`, or all of an `environment` (base64 of a conda file), from `channels`."""

    type: PackageType | None = None
    environment: str | None = None
    entries: tuple[str, ...] | None = None
    channels: tuple[str, ...] | None = None
    conda_opts: CondaOpts | None = None
    pixi_opts: PixiOpts | None = None
    cran_opts: CranOpts | None = None
