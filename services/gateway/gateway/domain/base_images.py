"""The base images of a recipe: a caller who may read its result must be allowed to read all of them."""

from collections.abc import Iterable

from gateway.domain.definition import translate
from swell.api.containers import BuildOptions
from swell.containerfile import base_images
from swell.errors import BadRequest
from swell.oci.platform import Platform
from swell.oci.reference import Reference, parse_reference

SCRATCH = "scratch"


def images_in_recipe(
    containerfile: str,
    platforms: Iterable[Platform],
    *,
    sif: bool = False,
    base: str | None = None,
    included: Iterable[str] = (),
    options: BuildOptions | None = None,
) -> list[Reference]:
    """The images that a Dockerfile or definition file names for any of *platforms*, and those *included*.

    The arguments of *options* are the build arguments. *base* is the only base image of a recipe for packages.

    Raises:
        BadRequest: a name cannot be parsed, or only the builder can determine it.
    """
    if base is not None:
        names = [base]
    else:
        text = translate(containerfile).containerfile if sif else containerfile
        arguments = options.arguments if options else {}
        names = list(dict.fromkeys(name for platform in platforms for name in base_images(text, arguments, platform)))
    if unclear := next((name for name in names if "$" in name), None):
        raise BadRequest(
            f"the image {unclear[:200]!r} of the recipe cannot be determined; write its name without variables"
        )
    return [parse_reference(name) for name in (*names, *included) if name.lower() != SCRATCH]
