"""The dialects of Dockerfiles: what engines read differently."""

from msgspec import Struct


class Dialect(Struct, frozen=True):
    """How one engine reads a Dockerfile."""

    name: str
    heredocs: bool
    """`<<EOF` begins a here-document; otherwise its lines are instructions."""
    escaped_escape: bool
    """A line that ends in two escape characters is not continued."""
    platform_args: bool
    """`TARGETARCH` and similar variables have a value in FROM without an ARG."""
    folds_stages: bool
    """Stage names are compared case-insensitively, after variables are expanded."""
    splits_first: bool
    """A mount is split into options before variables are expanded; otherwise a value can add options."""


BUILDKIT = Dialect(
    "BuildKit", heredocs=True, escaped_escape=True, platform_args=True, folds_stages=True, splits_first=True
)
BUILDAH_1_28 = Dialect(
    "buildah 1.28", heredocs=False, escaped_escape=False, platform_args=False, folds_stages=False, splits_first=False
)
DIALECTS = (BUILDKIT, BUILDAH_1_28)
