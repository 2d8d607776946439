"""The compression that is chosen for a request."""

import pytest

from builder.buildah.compression import Compression, choose
from swell.api.containers import BuildCompression, CompressionMode

GZIP, ZSTD, ESTARGZ = CompressionMode.GZIP, CompressionMode.ZSTD, CompressionMode.ESTARGZ


@pytest.mark.parametrize(
    ("wanted", "docker_only", "chosen", "why"),
    [
        (None, "", Compression(), ""),
        (BuildCompression(), "", Compression(), ""),
        (BuildCompression(level=3, force=True), "SHELL", Compression(level=3, force=True), ""),
        (BuildCompression(mode=ZSTD, level=19), "", Compression(mode=ZSTD, level=19), ""),
        (BuildCompression(mode=ZSTD, level=19), "HEALTHCHECK SHELL", Compression(level=9), "HEALTHCHECK SHELL"),
        (BuildCompression(mode=ESTARGZ, level=2, force=True), "", Compression(level=2, force=True), "estargz"),
    ],
)
def test_what_cannot_be_done_is_done_as_gzip_and_said(
    wanted: BuildCompression | None, docker_only: str, chosen: Compression, why: str
) -> None:
    """An image that every client can read is better than a failure, and the log says which mode is used."""
    made, said = choose(wanted, docker_only)
    assert made == chosen
    assert why in said if why else said == ""
