"""The images that a recipe is made of, and that whoever is given its result must be allowed to read."""

from collections.abc import Iterable

from gateway.domain.definition import translate
from swell.api.containers import BuildOptions
from swell.containerfile import base_images
from swell.errors import BadRequest
from swell.oci.platform import Platform
from swell.oci.reference import Reference, parse_reference

SCRATCH = "scratch"


def images_of(
    containerfile: str,
    platforms: Iterable[Platform],
    *,
    sif: bool = False,
    base: str | None = None,
    included: Iterable[str] = (),
    options: BuildOptions | None = None,
) -> list[Reference]:
    """The images that *containerfile*, or a definition file, names for any of *platforms*, built with *options*; with
    packages, their *base* image alone.

    Raises:
        BadRequest: a name cannot be read, or only the builder can find out which image it is.
    """
    if base is not None:
        names = [base]
    else:
        text = translate(containerfile).containerfile if sif else containerfile
        arguments = options.arguments if options else {}
        names = list(dict.fromkeys(name for each in platforms for name in base_images(text, arguments, each)))
    if unclear := next((name for name in names if "$" in name), None):
        raise BadRequest(
            f"the image {unclear[:200]!r} of the recipe cannot be found out; write its name without variables"
        )
    return [parse_reference(name) for name in (*names, *included) if name.lower() != SCRATCH]
