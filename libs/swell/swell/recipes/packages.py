"""Packages: the recipe that installs the packages of a request, by its template.

Source: Wave's public API, "buildTemplate" and "packages", https://docs.seqera.io/wave/api
"""

import re
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

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
from swell.conda.match_specs import parse_spec
from swell.errors import BadRequest, TooLarge
from swell.oci.reference import parse_reference
from swell.recipes import installr, micromamba, pixi
from swell.recipes.conda import CondaImage, Environment, from_entries, from_file
from swell.recipes.direct import DirectPackages, direct_packages, recipe_text
from swell.recipes.installr import RImage
from swell.recipes.members import decode_text, member_errors

MAX_TEXT = 50_000  # characters of an environment in base64, and of all strings of one list
MAX_ENTRIES = 1000

_MICROMAMBA_1 = re.compile(r".*micromamba:1[.\-].*")
_MICROMAMBA_2 = "mambaorg/micromamba:2-amazon2023"


class Template(StrEnum):
    """The templates that install packages."""

    MICROMAMBA_V1 = "conda/micromamba:v1"
    MICROMAMBA_V2 = "conda/micromamba:v2"
    PIXI_V1 = "conda/pixi:v1"
    DIRECT_V1 = "conda/direct:v1"
    INSTALLR_V1 = "cran/installr:v1"

    @property
    def type(self) -> PackageType:
        return PackageType.CRAN if self is Template.INSTALLR_V1 else PackageType.CONDA


_CONDA_TEMPLATES = {
    Template.MICROMAMBA_V1: (micromamba.dockerfile_v1, micromamba.definition_file_v1),
    Template.MICROMAMBA_V2: (micromamba.dockerfile_v2, micromamba.definition_file_v2),
    Template.PIXI_V1: (pixi.dockerfile, pixi.definition_file),
}
_DEFAULTS = {PackageType.CONDA: Template.MICROMAMBA_V2, PackageType.CRAN: Template.INSTALLR_V1}


class Recipe(Struct, frozen=True, kw_only=True):
    """A Dockerfile or definition file, the `conda.yml` in its build context, and the name of its template.

    With `direct`, no container is built: `containerfile` only documents the packages. `base_packages` are packages of
    Conda that are added to the environment.
    """

    containerfile: str
    environment: str | None = None
    direct: DirectPackages | None = None
    base_packages: tuple[str, ...] = ()
    template: str


def make_recipe(packages: Packages, template: str | None, sif: bool, default_channels: tuple[str, ...] = ()) -> Recipe:
    """Return the recipe of *packages* for an image, or with *sif* for a SIF file; equal packages give equal texts.

    Every text of the client is quoted as one argument, except `commands`, which are code. *default_channels* replace
    the Conda channel `defaults`; without them, only micromamba accepts it.

    Raises:
        BadRequest: the message says what to change.
        TooLarge: the environment or a list is longer than `MAX_TEXT`.
    """
    chosen = choose_template(packages.type, template)
    if chosen is Template.INSTALLR_V1:
        text = (installr.definition_file if sif else installr.dockerfile)(_r_image(packages))
        return Recipe(containerfile=text, template=chosen)
    is_micromamba = chosen in {Template.MICROMAMBA_V1, Template.MICROMAMBA_V2}
    environment = _environment(packages, None if is_micromamba and not default_channels else default_channels)
    if chosen is Template.DIRECT_V1:
        return _direct_recipe(packages, environment, sif=sif)
    dockerfile, definition_file = _CONDA_TEMPLATES[chosen]
    image = _conda_image(packages, environment, chosen)
    text = (definition_file if sif else dockerfile)(image)
    return Recipe(containerfile=text, environment=environment.text, base_packages=image.base_packages, template=chosen)


def choose_template(kind: PackageType | None, template: str | None) -> Template:
    """Return the template for packages of *kind*; *template* may have any spelling of Wave's documentation.

    Raises:
        BadRequest: the template does not exist, or is for other packages.
    """
    if kind is None:
        raise BadRequest(f"packages.type is missing: expected {' or '.join(PackageType)}")
    if not template:
        return _DEFAULTS[kind]
    match = next((known for known in Template if template in _spellings(known)), None)
    if match is None:
        raise BadRequest(f"buildTemplate {template[:80]!r} is unknown: choose one of {', '.join(Template)}")
    if match.type is not kind:
        raise BadRequest(f"buildTemplate {template} is for {match.type} packages, but packages.type is {kind}")
    return match


def _spellings(template: Template) -> set[str]:
    """`conda/pixi:v1` is also `conda-pixi/v1` and `pixi/v1`."""
    tool = template.partition("/")[2].replace(":", "/")
    return {template, tool, f"{template.partition('/')[0]}-{tool}"}


def _environment(packages: Packages, defaults: tuple[str, ...] | None) -> Environment:
    channels = tuple(_strip_all("packages.channels", packages.channels))
    if option := next((channel for channel in channels if channel.startswith("-")), None):
        raise BadRequest(f"packages.channels has {option[:80]!r}, which looks like an option")
    if packages.environment:
        return from_file(_decode_environment(packages.environment), channels, defaults=defaults)
    if entries := _strip_all("packages.entries", packages.entries):
        return from_entries(entries, channels, defaults=defaults)
    raise BadRequest("packages is empty: give entries or an environment")


def _direct_recipe(packages: Packages, environment: Environment, *, sif: bool) -> Recipe:
    opts = packages.conda_opts or CondaOpts()
    if sif or opts.commands:
        what = "does not support SIF files" if sif else "does not support commands"
        raise BadRequest(f"{Template.DIRECT_V1} {what}; use {Template.MICROMAMBA_V2}")
    base_image = _image("baseImage", opts.base_image or BASE_IMAGE)
    direct = direct_packages(environment, base_image, _base_packages(opts.base_packages))
    text = recipe_text(direct)
    return Recipe(
        containerfile=text,
        environment=environment.text,
        direct=direct,
        base_packages=direct.base_packages,
        template=Template.DIRECT_V1,
    )


def _conda_image(packages: Packages, environment: Environment, template: Template) -> CondaImage:
    opts: CondaOpts | PixiOpts
    if template is Template.PIXI_V1:
        if environment.url or environment.is_explicit:
            raise BadRequest(f"{Template.PIXI_V1} does not support lock files; use {Template.MICROMAMBA_V2}")
        opts = packages.pixi_opts or PixiOpts()
        tool_image = _image("pixiOpts.pixiImage", opts.pixi_image or PIXI_IMAGE)
    else:
        opts = packages.conda_opts or CondaOpts()
        tool_image = _image("condaOpts.mambaImage", _mamba_image(opts.mamba_image or MAMBA_IMAGE, template))
    return CondaImage(
        environment=environment,
        tool_image=tool_image,
        base_image=_image("baseImage", opts.base_image or BASE_IMAGE),
        base_packages=_base_packages(opts.base_packages),
        commands=_commands(opts.commands),
    )


def _base_packages(text: str | None) -> tuple[str, ...]:
    """The match specifications in *text*, separated by blanks."""
    specs = _words("basePackages", text)
    with member_errors("basePackages"):
        for spec in specs:
            parse_spec(spec)
    return specs


def _mamba_image(image: str, template: Template) -> str:
    """Replace the clients' default, an image of micromamba 1, for version 2 of the template."""
    return _MICROMAMBA_2 if template is Template.MICROMAMBA_V2 and _MICROMAMBA_1.fullmatch(image) else image


def _r_image(packages: Packages) -> RImage:
    entries = _words("packages.entries", " ".join(_strip_all("packages.entries", packages.entries)))
    if packages.environment or not entries:
        raise BadRequest("packages of type CRAN need entries; an environment is for type CONDA")
    opts = packages.cran_opts or CranOpts()
    return RImage(
        image=_image("cranOpts.rImage", opts.r_image or R_IMAGE),
        entries=tuple(entry.strip("'\"") for entry in entries),
        channels=tuple(_strip_all("packages.channels", packages.channels)),
        base_packages=_words("basePackages", opts.base_packages),
        commands=_commands(opts.commands),
    )


def _image(name: str, text: str) -> str:
    with member_errors(name):
        parse_reference(text)
    return text


def _words(name: str, text: str | None) -> tuple[str, ...]:
    """The words of *text*; none may look like an option."""
    words = tuple(word for part in _strip_all(name, [text or ""]) for word in part.split())
    if option := next((word for word in words if word.startswith("-")), None):
        raise BadRequest(f"{name} has {option[:80]!r}, which looks like an option")
    return words


def _commands(commands: Sequence[str] | None) -> tuple[str, ...]:
    if any("\0" in command for command in _check_bounds("commands", commands)):
        raise BadRequest("commands has a NUL character")
    return tuple(commands or ())


def _strip_all(name: str, texts: Sequence[str] | None) -> list[str]:
    """Strip *texts*, and leave out empty ones; each has only printable characters."""
    for text in _check_bounds(name, texts):
        if not text.isprintable():
            raise BadRequest(f"{name} has {text[:80]!r}; line breaks and control characters are not allowed")
    return [stripped for text in texts or () if (stripped := text.strip())]


def _check_bounds(name: str, texts: Sequence[str] | None) -> Sequence[str]:
    if len(texts or ()) > MAX_ENTRIES or sum(map(len, texts or ())) > MAX_TEXT:
        raise TooLarge(f"{name} has more than {MAX_ENTRIES} entries or {MAX_TEXT} characters")
    return texts or ()


def _decode_environment(encoded: str) -> str:
    if len(encoded) > MAX_TEXT:
        raise TooLarge(f"packages.environment has more than {MAX_TEXT} characters")
    return decode_text("packages.environment", encoded)
