"""Packages as layers, without a container: the file tells what was asked for, and what the image is like."""

from gateway.domain.direct import NAME, Direct
from gateway.domain.templates.parts import lines


def record(wanted: Direct) -> str:
    """The same wish gives the same text, from which the image gets its name."""
    return lines(
        f"# {NAME}: nothing is run. The packages of conda.yml become layers on this image, below /opt/conda.",
        f"FROM {wanted.base_image}",
        f"# and: {' '.join(wanted.base_packages)}" if wanted.base_packages and not wanted.lock else None,
        'ENV CONDA_PREFIX=/opt/conda PATH="/opt/conda/bin:$PATH"',
    )
