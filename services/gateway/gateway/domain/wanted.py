"""What a container request asks for, once its text has been read: an image to serve, or one to build."""

import base64
import binascii

import msgspec
from msgspec import Struct

from swell.api.containers import ContainerConfig, ContainerLayer, ContainerRequest
from swell.errors import BadRequest, NotSupported, TooLarge
from swell.layers import verify_layer
from swell.oci.platform import Platform, parse_platform
from swell.oci.reference import Reference, parse_reference

MAX_FILE = 128 << 10  # bytes of a container file
MAX_LAYERS = 100

DATA = "data:"
_WEB = ("http://", "https://")


class Wanted(Struct, frozen=True, kw_only=True):
    """Either `image` or `containerfile` is set. `blobs` holds the layers that came as `data:`, by their gzip digest."""

    platform: Platform
    image: Reference | None = None
    containerfile: str | None = None
    container_config: ContainerConfig | None = None
    context: ContainerLayer | None = None
    blobs: dict[str, bytes]


def read(request: ContainerRequest) -> Wanted:
    """Understand *request*, or say what to change in it.

    Raises:
        BadRequest, TooLarge, DigestInvalid: a field is wrong; the message names it.
        NotSupported: it asks for what this server does not do.
    """
    _refuse_unsupported(request)
    if bool(request.container_image) == bool(request.container_file):
        raise BadRequest("give either containerImage or containerFile, one of the two")
    blobs: dict[str, bytes] = {}
    image = parse_reference(request.container_image) if request.container_image else None
    config = _config(request.container_config, blobs)
    if image and image.digest and config:
        raise BadRequest("containerImage is named by its digest, so nothing can be added to it; name it by its tag")
    if request.build_context and image:
        raise BadRequest("buildContext belongs to a containerFile; leave it out for a containerImage")
    return Wanted(
        platform=parse_platform(request.container_platform or "linux/amd64"),
        image=image,
        containerfile=_containerfile(request.container_file) if request.container_file else None,
        container_config=config,
        context=_layer("buildContext", request.build_context, blobs) if request.build_context else None,
        blobs=blobs,
    )


def _refuse_unsupported(request: ContainerRequest) -> None:
    if asked := request.not_yet_served():
        raise NotSupported(f"this server does not serve {', '.join(asked)} yet; leave that out of the request")
    if "," in (request.container_platform or ""):
        raise NotSupported("this server builds and serves one platform a request; give one containerPlatform")


def _containerfile(encoded: str) -> str:
    content = _decoded("containerFile", encoded)
    if len(content) > MAX_FILE:
        raise TooLarge(f"containerFile has {len(content)} bytes; at most {MAX_FILE} are taken")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(f"containerFile is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _config(config: ContainerConfig | None, blobs: dict[str, bytes]) -> ContainerConfig | None:
    if config is None or config.is_empty:
        return None
    for entry in config.env or ():
        if entry.find("=") < 1:
            raise BadRequest(f"containerConfig.env has {entry!r}; write it as NAME=value")
    if len(layers := config.layers or ()) > MAX_LAYERS:
        raise BadRequest(f"containerConfig has {len(layers)} layers; at most {MAX_LAYERS} can be added")
    read_layers = tuple(_layer(f"containerConfig.layers[{at}]", layer, blobs) for at, layer in enumerate(layers))
    return msgspec.structs.replace(config, layers=read_layers or None)


def _layer(name: str, layer: ContainerLayer, blobs: dict[str, bytes]) -> ContainerLayer:
    """The layer with its digests checked; data that came along moves to *blobs*, leaving an empty location."""
    if layer.location.startswith(DATA):
        content = _decoded(f"{name}.location", layer.location[len(DATA) :])
        verified = verify_layer(content, layer)
        blobs[str(verified.gzip_digest)] = content
        return msgspec.structs.replace(verified, location="")
    if not layer.location.startswith(_WEB):
        raise BadRequest(f"{name}.location must begin with data:, https:// or http://")
    if not (layer.gzip_digest and layer.gzip_size and layer.tar_digest):
        raise BadRequest(f"{name} is fetched from a URL, so it needs gzipDigest, gzipSize and tarDigest")
    return layer


def _decoded(name: str, encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"{name} is not valid base64 (standard alphabet, padded, no line breaks): {error}") from error
