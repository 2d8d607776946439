"""The images that a build may pull."""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from builder.domain.failure import BuildFailure
from swell import containerfile
from swell.api.containers import BuildOptions
from swell.containerfile import DIALECTS, Dialect
from swell.errors import BadRequest
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.provenance import Material
from swell.store.records import Reason

_NO_OPTIONS = BuildOptions()


def base_images(
    text: str, platform: str, dialects: Sequence[Dialect] = DIALECTS, options: BuildOptions = _NO_OPTIONS
) -> tuple[str, ...]:
    """Return the images that an engine of one of *dialects* may pull to build *text* with *options* for *platform*.

    Raises:
        BuildFailure: the file cannot be read; the message has the line.
    """
    try:
        return containerfile.base_images(text, options.arguments, parse_platform(platform), dialects)
    except BadRequest as error:
        raise BuildFailure(Reason.RECIPE, f"The container file cannot be built: {error}.") from error


def final_image(text: str, platform: str, dialect: Dialect, options: BuildOptions = _NO_OPTIONS) -> str | None:
    """Return the image that the built stage begins from; None for scratch, or if *dialect* cannot read the file."""
    try:
        file = containerfile.parse(text, dialect)
        return file.final_image(options.arguments, parse_platform(platform), options.target)
    except BadRequest:
        return None


def references(images: Iterable[str]) -> list[Reference]:
    """Return the references in *images* that are valid; the engine reports the others."""
    found = []
    for image in images:
        with suppress(BadRequest):
            found.append(parse_reference(image))
    return found


def materials_of(images: Iterable[str]) -> tuple[Material, ...]:
    """Return *images* as materials; only a reference with a digest says which bytes were used."""
    return tuple(
        Material(f"{each.name}:{each.tag}" if each.tag else each.name, each.digest) for each in references(images)
    )
