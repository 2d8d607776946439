"""Which images a container file begins from."""

import pytest

from builder.domain.containerfile import base_images, has_heredoc


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


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("FROM a\nRUN <<EOF\necho hi\nEOF\n", True),
        ("FROM a\r\nRUN --mount=type=cache,target=/c python <<-'END'\r\n\tprint()\r\n\tEND\r\n", True),
        ('FROM a\ncopy <<"a" <<b /x/\n1\na\n2\nb', True),
        ("FROM a\nRUN cat <<EOF && true\nRUN true\n", False),
        ("FROM a\nRUN echo $((1 << 2))\n2\n", False),
        ("FROM a\n# RUN <<EOF\nEOF\n", False),
    ],
)
def test_here_documents_are_found(file: str, expected: bool) -> None:
    """An engine that does not know them fails of their lines."""
    assert has_heredoc(file) is expected
