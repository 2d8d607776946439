"""Layers that come inside a request: a gzipped tar in base64, perhaps deflated once more before.

Source: Wave's public API, "layer locations".
"""

import zlib

from gateway.domain.texts import decoded
from swell.errors import BadRequest, TooLarge

DATA = "data:"
DEFLATED = "gzip:"  # so it is called; what is in it is zlib's format
MAX_INFLATED = 16 << 20  # bytes; no layer that comes inside a request is larger before it is deflated


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
