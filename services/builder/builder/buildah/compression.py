"""How layers are compressed: what is asked for, as far as the engine can."""

from msgspec import Struct

from swell.api.containers import MAX_LEVEL, BuildCompression, CompressionMode


class Compression(Struct, frozen=True, kw_only=True):
    """`mode` is gzip or zstd. With `force` all layers are compressed anew; else those of base images may stay as the
    registry has them."""

    mode: CompressionMode = CompressionMode.GZIP
    level: int | None = None
    force: bool = False


def choose(wanted: BuildCompression | None, docker_only: str = "") -> tuple[Compression, str]:
    """What is done for *wanted*, and in words why that is something else.

    An image of zstd layers must be of the OCI format, which has no place for some instructions: where the image has
    followed any, *docker_only* names them, and gzip is used.
    """
    if wanted is None:
        return Compression(), ""
    asked = Compression(mode=wanted.mode or CompressionMode.GZIP, level=wanted.level, force=bool(wanted.force))
    if asked.mode is CompressionMode.ESTARGZ:
        return _gzip(asked), "estargz is not made here: the layers are gzip, of which it is a special case"
    if asked.mode is CompressionMode.ZSTD and docker_only:
        return _gzip(asked), f"zstd layers would lose {docker_only} of this image: the layers are gzip"
    return asked, ""


def _gzip(asked: Compression) -> Compression:
    level = None if asked.level is None else min(asked.level, MAX_LEVEL[CompressionMode.GZIP])
    return Compression(level=level, force=asked.force)
