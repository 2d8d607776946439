"""A grant: what a token opens, to whoever holds it, until it expires."""

from datetime import datetime

from msgspec import Struct

from swell.api.containers import ContainerConfig
from swell.oci.reference import Reference
from swell.registry.principal import PUBLIC, Principal


class Grant(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`image` is what stands behind the token; with `build_id`, only once that build has succeeded.

    `platform` is one, or several joined by commas when the build made an index of them.

    `container_config` is added to the image at the pull; the data of its layers is in the store already, under its
    digest, so their `data:` locations are empty here. A durable image is pulled from its own registry, never through
    the token; a dry one was only asked about. Pulls count against the limit of `user`, or of the address that pulls
    when there is none, and as use of `organisation`, or of nobody's. `principal` is
    whose credentials read the image.
    """

    token: str
    image: str
    platform: str
    created: datetime
    expires: datetime
    container_config: ContainerConfig | None = None
    build_id: str | None = None
    user: str = ""
    organisation: str = ""
    is_durable: bool = False
    is_dry: bool = False
    principal: Principal = PUBLIC

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(self.platform.split(","))


def image_name(authority: str, token: str, image: Reference) -> str:
    """The name that clients pull: `<authority>/wt/<token>/<repository>:<tag>`, or `@<digest>`."""
    return f"{authority}/wt/{token}/{image.repository}{separator(image)}{image.reference}"


def separator(image: Reference) -> str:
    return "@" if image.digest else ":"
