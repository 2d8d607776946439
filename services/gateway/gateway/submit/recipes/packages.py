"""Packages: what clients ask for by name, as a container file that installs it.

Source: Wave's public API, "buildTemplate" and "packages".
"""

import re
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

from gateway.submit.members import naming, text_of
from gateway.submit.recipes import installr, micromamba, pixi
from gateway.submit.recipes.conda import CondaImage, Environment, from_entries, from_file
from gateway.submit.recipes.direct import Direct, direct_of, record
from gateway.submit.recipes.installr import RImage
from swell.api.packages import (
    BASE_IMAGE,
    MAMBA_IMAGE,
    PIXI_IMAGE,
    R_IMAGE,
    CondaOpts,
    CranOpts,
    Packages,
    PackageType,
    PixiOpts,
)
from swell.errors import BadRequest, TooLarge
from swell.oci.reference import parse_reference

MAX_TEXT = 50_000  # characters of an environment in base64, and of all the texts of one list
MAX_ENTRIES = 1000

_MICROMAMBA_1 = re.compile(r".*micromamba:1[.\-].*")
_MICROMAMBA_2 = "mambaorg/micromamba:2-amazon2023"


class Template(StrEnum):
    """How packages are installed."""

    MICROMAMBA_V1 = "conda/micromamba:v1"
    MICROMAMBA_V2 = "conda/micromamba:v2"
    PIXI_V1 = "conda/pixi:v1"
    DIRECT_V1 = "conda/direct:v1"
    INSTALLR_V1 = "cran/installr:v1"

    @property
    def type(self) -> PackageType:
        return PackageType.CRAN if self is Template.INSTALLR_V1 else PackageType.CONDA


_CONDA_TEMPLATES = {
    Template.MICROMAMBA_V1: (micromamba.docker_v1, micromamba.singularity_v1),
    Template.MICROMAMBA_V2: (micromamba.docker_v2, micromamba.singularity_v2),
    Template.PIXI_V1: (pixi.docker, pixi.singularity),
}
_DEFAULTS = {PackageType.CONDA: Template.MICROMAMBA_V2, PackageType.CRAN: Template.INSTALLR_V1}


class Recipe(Struct, frozen=True, kw_only=True):
    """A container file, the `conda.yml` that it finds in its context, and the template they were made from.

    Where packages go `direct` into layers, the container file is only told, not built.
    """

    containerfile: str
    environment: str | None = None
    direct: Direct | None = None
    template: str


def recipe(packages: Packages, template: str | None, sif: bool) -> Recipe:
    """The recipe for an image, or with *sif* a SIF file, of *packages*; the same wish gives the same text.

    No text of a client gets out of the argument where it stands, but for `commands`, which are code by their nature.

    Raises:
        BadRequest: the message says what to change.
        TooLarge: the environment or a list is longer than `MAX_TEXT`.
    """
    chosen = choose_template(packages.type, template)
    if chosen is Template.INSTALLR_V1:
        made = (installr.singularity if sif else installr.docker)(_r_image(packages))
        return Recipe(containerfile=made, template=chosen)
    environment = _environment(packages)
    if chosen is Template.DIRECT_V1:
        return _direct(packages, environment, sif=sif)
    docker, singularity = _CONDA_TEMPLATES[chosen]
    made = (singularity if sif else docker)(_conda_image(packages, environment, chosen))
    return Recipe(containerfile=made, environment=environment.text, template=chosen)


def choose_template(kind: PackageType | None, template: str | None) -> Template:
    """The template for packages of *kind*; *template* may be written in any way that Wave's documents have it.

    Raises:
        BadRequest: there is none of that name, or it is for other packages.
    """
    if kind is None:
        raise BadRequest(f"packages.type is missing: expected {' or '.join(PackageType)}")
    if not template:
        return _DEFAULTS[kind]
    found = next((known for known in Template if template in _spellings(known)), None)
    if found is None:
        raise BadRequest(f"buildTemplate {template[:80]!r} is unknown: choose one of {', '.join(Template)}")
    if found.type is not kind:
        raise BadRequest(f"buildTemplate {template} is for {found.type} packages, but packages.type is {kind}")
    return found


def _spellings(template: Template) -> set[str]:
    """`conda/pixi:v1` is also `conda-pixi/v1` and `pixi/v1`."""
    tool = template.partition("/")[2].replace(":", "/")
    return {template, tool, f"{template.partition('/')[0]}-{tool}"}


def _environment(packages: Packages) -> Environment:
    channels = tuple(_listed("packages.channels", packages.channels))
    if option := next((channel for channel in channels if channel.startswith("-")), None):
        raise BadRequest(f"packages.channels has {option[:80]!r}, which would be taken for an option")
    if packages.environment:
        return from_file(_decoded(packages.environment), channels)
    if entries := _listed("packages.entries", packages.entries):
        return from_entries(entries, channels)
    raise BadRequest("packages is empty: give entries or an environment")


def _direct(packages: Packages, environment: Environment, *, sif: bool) -> Recipe:
    opts = packages.conda_opts or CondaOpts()
    if sif or opts.commands:
        what = "makes no SIF files" if sif else "runs nothing, so it takes no commands"
        raise BadRequest(f"{Template.DIRECT_V1} {what}; use {Template.MICROMAMBA_V2}")
    base_image = _image("baseImage", opts.base_image or BASE_IMAGE)
    wanted = direct_of(environment, base_image, _words("basePackages", opts.base_packages))
    made = record(wanted)
    return Recipe(containerfile=made, environment=environment.text, direct=wanted, template=Template.DIRECT_V1)


def _conda_image(packages: Packages, environment: Environment, template: Template) -> CondaImage:
    opts: CondaOpts | PixiOpts
    if template is Template.PIXI_V1:
        if environment.url or environment.is_explicit:
            raise BadRequest(f"{Template.PIXI_V1} takes no lock files; use {Template.MICROMAMBA_V2}")
        opts = packages.pixi_opts or PixiOpts()
        tool_image = _image("pixiOpts.pixiImage", opts.pixi_image or PIXI_IMAGE)
    else:
        opts = packages.conda_opts or CondaOpts()
        tool_image = _image("condaOpts.mambaImage", _mamba_image(opts.mamba_image or MAMBA_IMAGE, template))
    return CondaImage(
        environment=environment,
        tool_image=tool_image,
        base_image=_image("baseImage", opts.base_image or BASE_IMAGE),
        base_packages=_words("basePackages", opts.base_packages),
        commands=_commands(opts.commands),
    )


def _mamba_image(image: str, template: Template) -> str:
    """Clients always name their default, an image of micromamba 1; version 2 of the template needs micromamba 2."""
    return _MICROMAMBA_2 if template is Template.MICROMAMBA_V2 and _MICROMAMBA_1.fullmatch(image) else image


def _r_image(packages: Packages) -> RImage:
    entries = _words("packages.entries", " ".join(_listed("packages.entries", packages.entries)))
    if packages.environment or not entries:
        raise BadRequest("packages of type CRAN are named in entries; an environment is for type CONDA")
    opts = packages.cran_opts or CranOpts()
    return RImage(
        image=_image("cranOpts.rImage", opts.r_image or R_IMAGE),
        entries=tuple(entry.strip("'\"") for entry in entries),
        channels=tuple(_listed("packages.channels", packages.channels)),
        base_packages=_words("basePackages", opts.base_packages),
        commands=_commands(opts.commands),
    )


def _image(name: str, text: str) -> str:
    with naming(name):
        parse_reference(text)
    return text


def _words(name: str, text: str | None) -> tuple[str, ...]:
    """The words of *text*, of which none would be taken for an option."""
    found = tuple(word for part in _listed(name, [text or ""]) for word in part.split())
    if option := next((word for word in found if word.startswith("-")), None):
        raise BadRequest(f"{name} has {option[:80]!r}, which would be taken for an option")
    return found


def _commands(commands: Sequence[str] | None) -> tuple[str, ...]:
    if any("\0" in command for command in _bounded("commands", commands)):
        raise BadRequest("commands has a NUL character")
    return tuple(commands or ())


def _listed(name: str, texts: Sequence[str] | None) -> list[str]:
    """*texts* without blanks around them, and without empty ones; each in one line."""
    for text in _bounded(name, texts):
        if not text.isprintable():
            raise BadRequest(f"{name} has {text[:80]!r}; line breaks and control characters are not taken")
    return [stripped for text in texts or () if (stripped := text.strip())]


def _bounded(name: str, texts: Sequence[str] | None) -> Sequence[str]:
    if len(texts or ()) > MAX_ENTRIES or sum(map(len, texts or ())) > MAX_TEXT:
        raise TooLarge(f"{name} has more than {MAX_ENTRIES} texts or {MAX_TEXT} characters")
    return texts or ()


def _decoded(encoded: str) -> str:
    if len(encoded) > MAX_TEXT:
        raise TooLarge(f"packages.environment has more than {MAX_TEXT} characters")
    return text_of("packages.environment", encoded)
