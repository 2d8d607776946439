"""Validate a container config and its layers; layers inside the request move to `InlineLayers`.

Decompression is bounded: a few bytes can expand a thousandfold.
"""

import zlib

import msgspec

from swell.api.containers import ContainerConfig, ContainerLayer, ContainerRequest
from swell.archives.layers import measure
from swell.errors import BadRequest, DigestInvalid, TooLarge
from swell.net.addresses import parse_url
from swell.oci.media_types import OCI_TAR_LAYER, OCI_ZSTD_LAYER
from swell.oci.reference import BLOB_SCHEME, parse_blob_location
from swell.recipes.members import decode_base64, member_errors

MAX_LAYERS = 100
MAX_CONFIG = 512 << 10  # characters of a container config without its layers: larger ones exceed the kernel's limits
MAX_SIZE = 1 << 50  # bytes of a layer
MAX_TAR = 1 << 30  # bytes of all tar files in a request, unpacked
MAX_URL = 8192  # characters of the URL of a layer; signed URLs are long

DATA_SCHEME = "data:"
ZLIB_SCHEME = "gzip:"  # Wave's name; the content is in zlib's format
MAX_INFLATED = 16 << 20  # bytes of an inline layer
MAX_INLINE = 32 << 20  # bytes of all inline layers of a request together: a kilobyte can become a megabyte

_WEB_SCHEMES = ("http://", "https://")
_MEDIA_TYPES = frozenset({OCI_ZSTD_LAYER, OCI_TAR_LAYER})


class InlineLayers:
    """The layers that a request contains: `blobs` has them by the digest of their gzip."""

    def __init__(self, limit: int = MAX_TAR) -> None:
        self.blobs: dict[str, bytes] = {}
        self._remaining = self._limit = limit
        self._size = 0

    def add(self, content: bytes, layer: ContainerLayer) -> ContainerLayer:
        """Store the gzip *content*, and return *layer* with its digests and size.

        Raises:
            BadRequest, DigestInvalid: it is not a layer, or its digest or size differ from those of *layer*.
            TooLarge: all layers together have more than 32 MiB, or unpack to more than the limit.
        """
        self._size += len(content)
        if self._size > MAX_INLINE:
            raise TooLarge(f"the layers of a request may have {MAX_INLINE} bytes together")
        try:
            meter = measure(content, self._remaining)
        except TooLarge as error:
            raise TooLarge(f"the layers of a request may unpack to {self._limit} bytes together") from error
        verified = meter.finish(layer)
        self._remaining -= meter.tar_size
        self.blobs[str(verified.gzip_digest)] = content
        return verified


def inline_layers(request: ContainerRequest) -> list[str]:
    """The locations of the layers that *request* contains."""
    layers = [*((request.container_config and request.container_config.layers) or ())]
    layers += [request.build_context] if request.build_context else []
    return [each.location for each in layers if each.location.startswith((DATA_SCHEME, ZLIB_SCHEME))]


def validate_config(config: ContainerConfig | None, inline: InlineLayers) -> ContainerConfig | None:
    """Return *config* with validated layers; None if it is empty. Inline layers move to *inline*."""
    if config is None or config.is_empty:
        return None
    texts = (*(config.entrypoint or ()), *(config.cmd or ()), *(config.env or ()), config.working_dir or "")
    if sum(map(len, texts)) + len(texts) > MAX_CONFIG:  # each ends in NUL when a process starts
        raise TooLarge(f"containerConfig has more than {MAX_CONFIG} characters")
    if text := next((text for text in texts if "\0" in text), None):
        raise BadRequest(f"containerConfig has {text[:80]!r}; arguments and variables cannot contain NUL characters")
    for entry in config.env or ():
        if entry.find("=") < 1:
            raise BadRequest(f"containerConfig.env has {entry[:80]!r}; write it as NAME=value")
    if len(layers := config.layers or ()) > MAX_LAYERS:
        raise BadRequest(f"containerConfig has {len(layers)} layers; at most {MAX_LAYERS} can be added")
    validated = tuple(
        validate_layer(f"containerConfig.layers[{index}]", layer, inline) for index, layer in enumerate(layers)
    )
    return msgspec.structs.replace(config, layers=validated or None)


def validate_layer(member: str, layer: ContainerLayer, inline: InlineLayers) -> ContainerLayer:
    """Return *layer* with checked digests; an inline layer moves to *inline*, and its location becomes empty.

    Source: Wave's public API, "Container layer locations", https://docs.seqera.io/wave/api
    """
    if layer.media_type and not (layer.media_type in _MEDIA_TYPES and layer.location.startswith(BLOB_SCHEME)):
        raise BadRequest(
            f"{member}.mediaType is for layers of other images, and one of {', '.join(sorted(_MEDIA_TYPES))}"
        )
    if (content := inline_content(f"{member}.location", layer.location)) is not None:
        with member_errors(member):
            return msgspec.structs.replace(inline.add(content, layer), location="")
    if len(layer.location) > MAX_URL:
        raise TooLarge(f"{member}.location has more than {MAX_URL} characters")
    if not layer.location.startswith((BLOB_SCHEME, *_WEB_SCHEMES)):
        raise BadRequest(f"{member}.location must begin with data:, gzip:, docker://, https:// or http://")
    with member_errors(f"{member}.location"):
        (parse_blob_location if layer.location.startswith(BLOB_SCHEME) else parse_url)(layer.location)
    if not (layer.gzip_digest and layer.gzip_size and layer.tar_digest):
        raise BadRequest(f"{member} is fetched from a URL, so it needs gzipDigest, gzipSize and tarDigest")
    _check_description(member, layer)
    return layer


def inline_content(member: str, location: str) -> bytes | None:
    """The gzipped tar in *location*; None if *location* is a URL.

    Raises:
        BadRequest: it cannot be decoded.
        TooLarge: it inflates to more than `MAX_INFLATED` bytes.
    """
    if location.startswith(DATA_SCHEME):
        return decode_base64(member, location[len(DATA_SCHEME) :])
    if location.startswith(ZLIB_SCHEME):
        return _inflate(member, decode_base64(member, location[len(ZLIB_SCHEME) :]))
    return None


def _inflate(member: str, content: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(content, MAX_INFLATED)
    except zlib.error as error:
        raise BadRequest(f"{member} begins with {ZLIB_SCHEME}, but is not a zlib stream") from error
    if stream.unconsumed_tail:
        raise TooLarge(f"{member} inflates to more than {MAX_INFLATED} bytes")
    if not stream.eof or stream.unused_data:
        raise BadRequest(f"{member} must contain exactly one complete zlib stream")
    return inflated


def _check_description(member: str, layer: ContainerLayer) -> None:
    """Check the digests and the size of a layer at a URL; the download verifies them."""
    for name, digest in (("gzipDigest", layer.gzip_digest), ("tarDigest", layer.tar_digest)):
        if not (digest or "").startswith("sha256:"):
            raise DigestInvalid(f"{member}.{name} is {digest!r}; expected sha256:<64 hex>")
    if not 0 < (layer.gzip_size or 0) < MAX_SIZE:
        raise BadRequest(f"{member}.gzipSize is {layer.gzip_size}; expected bytes, fewer than {MAX_SIZE}")
