"""The repositories that this server pushes to."""

from hashlib import blake2b

from msgspec import Struct

from swell.naming.image_name import is_within


class Repositories(Struct, frozen=True, kw_only=True):
    """The repositories of this server: for images, for cached steps, and the host of the community registry.

    A client's repository below `public` must not use a word of `reserved`.
    """

    build: str
    cache: str | None = None
    public: str | None = None
    reserved: frozenset[str] = frozenset()

    def cache_of(self, organisation: str) -> str | None:
        """Return the repository for steps of builds of *organisation*, below `cache`; without one, `cache` itself.

        Steps are never shared between organisations. The name of an organisation may have any characters.
        """
        if not (self.cache and organisation):
            return self.cache
        return f"{self.cache}/org-{blake2b(organisation.encode(), digest_size=10).hexdigest()}"

    def is_custom(self, repository: str | None) -> bool:
        """Whether *repository* is set and belongs to none of these."""
        own = (self.public, self.build, self.cache)
        return bool(repository) and not any(is_within(repository or "", parent) for parent in own)
