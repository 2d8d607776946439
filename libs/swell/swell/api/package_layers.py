"""An image of packages that the builder makes without a container, as the gateway requests it."""

from msgspec import Struct

from swell.api.containers import ContainerConfig


class PackageLayers(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Packages that become layers on `base_image`: `lock` is an explicit list, each with its address and sha256.

    `config` is frozen into the image; its layers are in the store, by their gzip digests.
    """

    base_image: str
    lock: str
    config: ContainerConfig | None = None
