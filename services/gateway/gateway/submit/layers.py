"""What is added to an image: a config and its layers, as a request brings them.

To unpack data takes time, which few bytes can make a thousand times as long: what comes with one request is bounded.
"""

import zlib

import msgspec

from gateway.submit.members import decoded, naming
from swell.api.containers import ContainerConfig, ContainerLayer
from swell.errors import BadRequest, DigestInvalid, TooLarge
from swell.layers import measure
from swell.net.addresses import parse_url
from swell.oci.media_types import OCI_TAR_LAYER, OCI_ZSTD_LAYER
from swell.oci.reference import BLOB_SCHEME, parse_blob_location

MAX_LAYERS = 100
MAX_CONFIG = 512 << 10  # characters of a container config, its layers aside: no program starts with more around it
MAX_SIZE = 1 << 50  # bytes of a layer
MAX_TAR = 1 << 30  # bytes of all tars that come along, unpacked
MAX_URL = 8192  # characters of the address of a layer; signed ones are long

DATA = "data:"
DEFLATED = "gzip:"  # so it is called; what is in it is zlib's format
MAX_INFLATED = 16 << 20  # bytes; no layer that comes inside a request is larger before it is deflated

_WEB = ("http://", "https://")
_MEDIA_TYPES = frozenset({OCI_ZSTD_LAYER, OCI_TAR_LAYER})


class Data:
    """The layers that came along with a request: `blobs` has them by their gzip digest."""

    def __init__(self, limit: int = MAX_TAR) -> None:
        self.blobs: dict[str, bytes] = {}
        self._left = self._limit = limit

    def take(self, content: bytes, layer: ContainerLayer) -> ContainerLayer:
        """*layer* as its gzip *content* is.

        Raises:
            BadRequest, DigestInvalid: it is no layer, or not the one it claims to be.
            TooLarge: with those that were taken before, it unpacks to more than the limit.
        """
        try:
            meter = measure(content, self._left)
        except TooLarge as error:
            raise TooLarge(f"the layers of a request may unpack to {self._limit} bytes together") from error
        verified = meter.finish(layer)
        self._left -= meter.tar_size
        self.blobs[str(verified.gzip_digest)] = content
        return verified


def config_of(config: ContainerConfig | None, data: Data) -> ContainerConfig | None:
    """*config* with its layers checked, whose content moves to *data*; None when it adds nothing."""
    if config is None or config.is_empty:
        return None
    texts = (*(config.entrypoint or ()), *(config.cmd or ()), *(config.env or ()), config.working_dir or "")
    if sum(map(len, texts)) + len(texts) > MAX_CONFIG:  # each ends in a NUL where a program starts
        raise TooLarge(f"containerConfig has more than {MAX_CONFIG} characters")
    if text := next((text for text in texts if "\0" in text), None):
        raise BadRequest(f"containerConfig has {text[:80]!r}; no program can be given a NUL character")
    for entry in config.env or ():
        if entry.find("=") < 1:
            raise BadRequest(f"containerConfig.env has {entry[:80]!r}; write it as NAME=value")
    if len(layers := config.layers or ()) > MAX_LAYERS:
        raise BadRequest(f"containerConfig has {len(layers)} layers; at most {MAX_LAYERS} can be added")
    read_layers = tuple(layer_of(f"containerConfig.layers[{at}]", layer, data) for at, layer in enumerate(layers))
    return msgspec.structs.replace(config, layers=read_layers or None)


def layer_of(name: str, layer: ContainerLayer, data: Data) -> ContainerLayer:
    """The layer with its digests checked; content that came along moves to *data*, leaving an empty location."""
    if layer.media_type and not (layer.media_type in _MEDIA_TYPES and layer.location.startswith(BLOB_SCHEME)):
        raise BadRequest(
            f"{name}.mediaType is for layers of other images, and one of {', '.join(sorted(_MEDIA_TYPES))}"
        )
    if (content := carried(f"{name}.location", layer.location)) is not None:
        with naming(name):
            return msgspec.structs.replace(data.take(content, layer), location="")
    if len(layer.location) > MAX_URL:
        raise TooLarge(f"{name}.location has more than {MAX_URL} characters")
    if not layer.location.startswith((BLOB_SCHEME, *_WEB)):
        raise BadRequest(f"{name}.location must begin with data:, gzip:, docker://, https:// or http://")
    with naming(f"{name}.location"):
        (parse_blob_location if layer.location.startswith(BLOB_SCHEME) else parse_url)(layer.location)
    if not (layer.gzip_digest and layer.gzip_size and layer.tar_digest):
        raise BadRequest(f"{name} is fetched from a URL, so it needs gzipDigest, gzipSize and tarDigest")
    _check_claims(name, layer)
    return layer


def _check_claims(name: str, layer: ContainerLayer) -> None:
    """See that a layer that is not here yet is described; whether that is true is found out when it is fetched."""
    for member, digest in (("gzipDigest", layer.gzip_digest), ("tarDigest", layer.tar_digest)):
        if not (digest or "").startswith("sha256:"):
            raise DigestInvalid(f"{name}.{member} is {digest!r}; expected sha256:<64 hex>")
    if not 0 < (layer.gzip_size or 0) < MAX_SIZE:
        raise BadRequest(f"{name}.gzipSize is {layer.gzip_size}; expected bytes, fewer than {MAX_SIZE}")


def carried(member: str, location: str) -> bytes | None:
    """The gzipped tar that *location* carries itself; None when it says where the layer is.

    Raises:
        BadRequest: it cannot be read.
        TooLarge: it inflates to more than `MAX_INFLATED`.
    """
    if location.startswith(DATA):
        return decoded(member, location[len(DATA) :])
    if location.startswith(DEFLATED):
        return _inflated(member, decoded(member, location[len(DEFLATED) :]))
    return None


def _inflated(member: str, content: bytes) -> bytes:
    stream = zlib.decompressobj()
    try:
        inflated = stream.decompress(content, MAX_INFLATED)
    except zlib.error as error:
        raise BadRequest(f"{member} begins with {DEFLATED}, but holds no zlib stream") from error
    if stream.unconsumed_tail:
        raise TooLarge(f"{member} inflates to more than {MAX_INFLATED} bytes")
    if not stream.eof or stream.unused_data:
        raise BadRequest(f"{member} holds no whole zlib stream, or more than one")
    return inflated
