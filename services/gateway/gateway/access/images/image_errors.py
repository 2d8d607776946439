"""The errors of images that cannot be read, as errors of the request that names them."""

from collections.abc import Iterator
from contextlib import contextmanager

from swell.errors import BadRequest, Denied, ManifestUnknown, SwellError, UpstreamFailed
from swell.oci.reference import Reference

_HINT = (
    "without an API key with the scope operator-pull, this server reads only public images and those of the registries "
    "in SWELL_SHARED_REGISTRIES; its operator can change both"
)


class ImageRefused(BadRequest):
    """The image does not exist, or the caller may not read it."""


@contextmanager
def reading(image: Reference, member: str = "") -> Iterator[None]:
    """Raise the errors of reading *image*, which the request names in *member*, as errors of the request.

    Raises:
        BadRequest: the image is missing, or the caller may not read it.
        UpstreamFailed: the registry does not respond; the class stays.
    """
    try:
        yield
    except ManifestUnknown as error:
        raise image_missing(image, error, member) from error
    except Denied as error:
        raise image_refused(image, error, member) from error
    except UpstreamFailed as error:
        message = f"{_prefix(member)}container image {image} cannot be read: {error}"
        raise type(error)(message, retry_after=error.retry_after) from error


def image_missing(image: Reference, reason: SwellError, member: str = "") -> BadRequest:
    """The error for an *image* that its registry does not have."""
    return BadRequest(f"{_prefix(member)}container image {image} does not exist or cannot be accessed: {reason}")


def image_refused(image: Reference, reason: SwellError, member: str = "") -> ImageRefused:
    """The error for a caller who may not read *image*."""
    return ImageRefused(f"{image_missing(image, reason, member)}; {_HINT}")


def _prefix(member: str) -> str:
    return f"{member}: " if member else ""
