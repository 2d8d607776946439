"""Compression of layers: the requested mode, or the nearest one that buildah supports."""

from msgspec import Struct

from swell.api.containers import MAX_LEVEL, BuildCompression, CompressionMode


class Compression(Struct, frozen=True, kw_only=True):
    """`mode` is gzip or zstd. With `force` all layers are compressed again; otherwise those of base images may stay as
    they are in the registry."""

    mode: CompressionMode = CompressionMode.GZIP
    level: int | None = None
    force: bool = False


def choose(request: BuildCompression | None, docker_only: str = "") -> tuple[Compression, str]:
    """Return the compression for *request*, and a sentence that explains a difference, or an empty text.

    zstd layers require the OCI format, which cannot represent some instructions. If the image has any, *docker_only*
    names them, and gzip is used.
    """
    if request is None:
        return Compression(), ""
    compression = Compression(mode=request.mode or CompressionMode.GZIP, level=request.level, force=bool(request.force))
    if compression.mode is CompressionMode.ESTARGZ:
        return _gzip(compression), "estargz is not supported: the layers are gzip, of which it is a special case"
    if compression.mode is CompressionMode.ZSTD and docker_only:
        return _gzip(compression), f"zstd layers would lose {docker_only} of this image: the layers are gzip"
    return compression, ""


def _gzip(compression: Compression) -> Compression:
    level = None if compression.level is None else min(compression.level, MAX_LEVEL[CompressionMode.GZIP])
    return Compression(level=level, force=compression.force)
