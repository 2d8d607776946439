"""Which images a container file begins from."""

import pytest

from builder.domain.containerfile import base_images


@pytest.mark.parametrize(
    ("containerfile", "images"),
    [
        ("FROM ubuntu:22.04\nRUN true\n", ["ubuntu:22.04"]),
        ("ARG V=1\n  from  alpine AS one\nFROM alpine\nFROM debian@sha256:0 as two\n", ["alpine", "debian@sha256:0"]),
        ("FROM --platform=linux/arm64 busybox\n", ["busybox"]),
        ("FROM alpine AS Tools\nFROM tools\nFROM scratch\n", ["alpine"]),
        ("ARG BASE=alpine\nFROM ${BASE}\n", []),
        ("RUN echo FROM here\n# FROM there\n", []),
        ("", []),
    ],
)
def test_from_lines_name_base_images(containerfile: str, images: list[str]) -> None:
    """Stages, scratch and what only buildah can work out are left to buildah."""
    assert base_images(containerfile) == images
