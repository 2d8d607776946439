"""Which base images a build may read: the part of a policy that the engine enforces, too.

The gateway checks the images that a recipe names. Only the builder sees others, such as those that the ONBUILD triggers
of a base image name.
"""

from msgspec import Struct
from msgspec.structs import replace

from swell.oci.reference import Reference
from swell.registry.credentials.principal import is_below

NOTHING = ("invalid.",)
"""No image is below it: a registry cannot have this name."""


class BaseRules(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Images must be below one of *allowed* (`registry` or `registry/path`), if it has entries.

    With *digest_only* they must be named by their digests. The images of *own*, the repositories of this server, are
    always allowed: they were built under these rules.
    """

    allowed: tuple[str, ...] = ()
    digest_only: bool = False
    own: tuple[str, ...] = ()

    def limited_to(self, places: tuple[str, ...]) -> "BaseRules":
        """Return the rules that allow only what is also below one of *places*, if it has entries."""
        if not places:
            return self
        if not self.allowed:
            return replace(self, allowed=places)
        pairs = ((place, allowed) for place in places for allowed in self.allowed)
        both = {max(pair, key=len) for pair in pairs if _are_nested(*pair)}
        return replace(self, allowed=tuple(sorted(both)) or NOTHING)

    @property
    def is_empty(self) -> bool:
        return not (self.allowed or self.digest_only)

    def allows_place(self, image: Reference) -> bool:
        return not self.allowed or is_below(image, (*self.allowed, *self.own))

    def allows_name(self, image: Reference) -> bool:
        return not self.digest_only or image.digest is not None or is_below(image, self.own)

    def allows(self, image: Reference) -> bool:
        return self.allows_place(image) and self.allows_name(image)


NO_RULES = BaseRules()


def _are_nested(first: str, second: str) -> bool:
    return f"{first}/".startswith(f"{second}/") or f"{second}/".startswith(f"{first}/")
