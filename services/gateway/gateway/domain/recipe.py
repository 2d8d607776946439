"""The images that a recipe is made of, and that whoever is given its result must be allowed to read."""

from collections.abc import Iterable

from gateway.domain.definition import translate
from gateway.domain.wanted import Wanted
from swell.containerfile import base_images
from swell.errors import BadRequest
from swell.oci.platform import Platform
from swell.oci.reference import BLOB_SCHEME, Reference, parse_blob_location, parse_reference

SCRATCH = "scratch"


def images_of(
    containerfile: str,
    platforms: Iterable[Platform],
    *,
    sif: bool = False,
    base: str | None = None,
    included: Iterable[str] = (),
) -> list[Reference]:
    """The images that *containerfile*, or a definition file, names for any of *platforms*; with packages, their *base*
    image alone.

    Raises:
        BadRequest: a name cannot be read, or only the builder can find out which image it is.
    """
    if base is not None:
        names = [base]
    else:
        text = translate(containerfile).containerfile if sif else containerfile
        names = list(dict.fromkeys(name for each in platforms for name in base_images(text, platform=each)))
    if unclear := next((name for name in names if "$" in name), None):
        raise BadRequest(
            f"the image {unclear[:200]!r} of the recipe cannot be found out; write its name without variables"
        )
    return [parse_reference(name) for name in (*names, *included) if name.lower() != SCRATCH]


def images_of_request(wanted: Wanted) -> list[Reference]:
    """The images that *wanted* is built of.

    Raises:
        BadRequest: as `images_of`.
    """
    base = wanted.direct.base_image if wanted.direct else None
    return images_of(
        wanted.containerfile or "", wanted.platforms, sif=wanted.sif, base=base, included=map(str, wanted.included)
    )


def images_read(wanted: Wanted) -> list[Reference]:
    """What is read of registries to answer *wanted*, beside the images of its recipe; of single layers, the blobs."""
    layers = (wanted.container_config.layers if wanted.container_config else None) or ()
    locations = [layer.location for layer in (*layers, wanted.context) if layer]
    blobs = [parse_blob_location(each) for each in locations if each.startswith(BLOB_SCHEME)]
    return [*([wanted.image] if wanted.image else []), *wanted.includes, *blobs]
