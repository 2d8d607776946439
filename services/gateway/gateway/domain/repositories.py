"""The repositories that this server pushes to."""

from msgspec import Struct

ORAS = "oras://"
"""Prefix of the name of a SIF file, which container runtimes cannot run."""


class Repositories(Struct, frozen=True, kw_only=True):
    """Where this server builds to: by default, and below `public` the community's images, with words kept for us."""

    build: str
    cache: str | None = None
    public: str | None = None
    reserved: frozenset[str] = frozenset()

    def is_custom(self, repository: str | None) -> bool:
        """Whether a client named a repository of their own."""
        ours = (self.public, self.build, self.cache)
        return bool(repository) and not any(is_within(repository or "", each) for each in ours)


def is_within(repository: str, parent: str | None) -> bool:
    """Whether *repository* is *parent*, or a path below it."""
    return bool(parent) and f"{repository}/".startswith(f"{parent}/")
