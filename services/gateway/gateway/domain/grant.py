"""A grant: the image that a token gives access to, until it expires."""

from datetime import datetime

from msgspec import Struct

from swell.api.containers import ContainerConfig, ScanMode
from swell.errors import NameUnknown
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.principal import PUBLIC, Principal, limited_to


class Grant(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The right to pull `image`; with `build_id`, once that build has succeeded.

    - `platform` is one platform, or several separated by commas if the image is an index.
    - `container_config` is added to the image at the pull. The object store has its inline layers by their digests, so
      their locations are empty.
    - A durable image is pulled from its own registry, not with the token. A dry grant belongs to a dry run.
    - Pulls count against the limit of `user`, else of the client's address, and as usage of `organisation`.
    - With `run`, a workspace of a Seqera Platform, the token lives while its run does: at first until `first_end`, at
      most until `expires`.
    - `scan_id` is the scan of the image. If it is required, `scan_levels` are the severities that the client allows.
    - The image is read with the credentials of `principal`.
    - `policy` is the revision of the policy that allowed the request. If a policy gave its client credentials of the
      operator, `by_policy` are their registries and paths, and `groups` those of the client.
    - `traceparent` is the trace of the request, if it is sampled: the first pull is linked to it.
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
    scan_id: str | None = None
    scan_mode: ScanMode = ScanMode.NONE
    scan_levels: tuple[str, ...] = ()
    run: str = ""
    first_end: datetime | None = None
    traceparent: str = ""
    policy: str = ""
    by_policy: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def is_changed(self) -> bool:
        """Whether the image gets additions at the pull, and so another digest."""
        return self.container_config is not None and not self.container_config.is_empty

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(self.platform.split(","))


def check_served(grant: Grant, repository: str) -> None:
    """Raise `NameUnknown` unless the image of *grant* is served here, as *repository*."""
    if parse_reference(grant.image).repository != repository:
        raise NameUnknown("the token was given for another image")
    if grant.is_durable:
        raise NameUnknown(f"this image is not served here: pull {grant.image} itself")
    if grant.is_dry:
        raise NameUnknown("the token was given for a dry run: it has no image")


def pull_name(authority: str, grant: Grant, image: Reference) -> str:
    """The name that clients pull: `<authority>/wt/<token>/<repository>:<tag>`, or with `@<digest>`."""
    tag = image.served_tag(is_changed=grant.is_changed)
    return f"{authority}/wt/{grant.token}/{image.repository}" + (f":{tag}" if tag else f"@{image.digest}")


def served_tag(grant: Grant) -> str | None:
    """The tag under which the image of *grant* is served."""
    return parse_reference(grant.image).served_tag(is_changed=grant.is_changed)


def pull_principal(grant: Grant) -> Principal:
    """Return the principal that reads the image of *grant*.

    The image of a build was pushed by this server, so the operator's credentials may read it. Grants of older versions
    do not contain that.
    """
    if grant.build_id is None:
        return grant.principal
    return limited_to([parse_reference(grant.image).name], grant.principal)
