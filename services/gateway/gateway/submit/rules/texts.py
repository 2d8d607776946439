"""Decode the texts of a request: its container file or packages, and its environment."""

from msgspec import Struct

from swell.api.containers import ContainerRequest
from swell.errors import TooLarge
from swell.recipes.conda import check_file
from swell.recipes.direct import DirectPackages
from swell.recipes.members import decode_text
from swell.recipes.packages import make_recipe

MAX_FILE = 128 << 10  # bytes of a container file
MAX_CONDA_FILE = 50_000  # characters of base64


class Texts(Struct, frozen=True):
    """The decoded texts of a request."""

    containerfile: str | None = None
    environment: str | None = None
    template: str | None = None
    direct: DirectPackages | None = None
    base_packages: tuple[str, ...] = ()


def decode_texts(request: ContainerRequest, default_channels: tuple[str, ...]) -> Texts:
    """Return the texts of *request*; those of packages are made from their template.

    *default_channels* are what the Conda channel `defaults` stands for.

    Raises:
        BadRequest, TooLarge: a text is not base64 of UTF-8, is too long, or cannot be parsed; the message names it.
    """
    if request.packages:
        recipe = make_recipe(request.packages, request.build_template, request.format == "sif", default_channels)
        return Texts(recipe.containerfile, recipe.environment, recipe.template, recipe.direct, recipe.base_packages)
    if not request.container_file:
        return Texts()
    containerfile = _decode("containerFile", request.container_file, MAX_FILE)
    environment = _decode("condaFile", request.conda_file, MAX_CONDA_FILE) if request.conda_file else None
    if environment:
        check_file(environment, "condaFile")
    return Texts(containerfile, environment, request.build_template)


def _decode(member: str, encoded: str, limit: int) -> str:
    size = len(encoded) * 3 // 4 - encoded[-2:].count("=")
    if size > limit:
        raise TooLarge(f"{member} has {size} bytes; the limit is {limit}")
    return decode_text(member, encoded)
