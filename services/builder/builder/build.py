"""Build an image: a recipe goes to an engine, and comes back as the digest of what was pushed."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from swell.oci.digest import Digest

Tell = Callable[[bytes], Awaitable[None]]


class Recipe(Struct, frozen=True, kw_only=True):
    """What to build, and where it goes.

    `context` is a gzipped tar file whose digest somebody has verified; without one the context is empty.
    """

    build_id: str
    target_image: str
    containerfile: str
    platform: str = "linux/amd64"
    context: Path | None = None


class Engine(Protocol):
    """Makes and pushes images."""

    async def build(self, recipe: Recipe, tell: Tell) -> Digest:
        """Build and push *recipe*; the digest is that of the pushed manifest.

        Each line of the output is *tell*'s as soon as it is there: bytes as they came, without newline and colours, in
        pieces of at most 16 KiB. A slow *tell* slows the build. Cancelling ends every process of the build.

        Raises:
            BuildFailure: there is no image; says why, and whose turn it is.
        """
