"""Rules of mirrors: which members they exclude, and the names of copies, below the registry or path of the client.

Source: Wave's documentation, "Container mirroring", https://docs.seqera.io/wave/provisioning#container-mirroring
"""

from collections.abc import Sequence

from msgspec import Struct

from gateway.domain.repositories import Repositories
from swell.api.containers import ContainerRequest
from swell.errors import BadRequest, TooLarge
from swell.oci.reference import Reference, parse_reference, parse_registry
from swell.recipes.members import member_errors
from swell.registry.credentials.principal import rules_of

MAX_IMAGES = 50  # of one mirror


class MirrorTarget(Struct, frozen=True):
    """An image, and the name that its copy gets."""

    source: Reference
    target: Reference


def check_mirror(request: ContainerRequest, image: Reference | None, *, legacy: bool) -> None:
    """Check that *request* is no mirror, or that it has the members of one and no others; raises `BadRequest`."""
    if not request.mirror:
        return
    if legacy:
        raise BadRequest("mirror needs /v1alpha2/container")
    config = request.container_config
    forbidden = {
        "freeze": request.freeze,
        "containerFile": request.container_file,
        "packages": request.packages,
        "containerIncludes": request.container_includes,
        "containerConfig": config and not config.is_empty,
    }
    if image is None:
        raise BadRequest("mirror needs a containerImage")
    if not request.tower_access_token:
        raise BadRequest("mirror needs a towerAccessToken: an access token whose owner may push to the repository")
    if present := [name for name, value in forbidden.items() if value]:
        raise BadRequest(f"mirror cannot be combined with {', '.join(present)}")
    if not request.build_repository:
        raise BadRequest("mirror needs a buildRepository to copy to")


def mirror_target(source: Reference, repository: str, repositories: Repositories) -> MirrorTarget:
    """Return the target of *source* below *repository*, which is `registry` or `registry/path`.

    Raises:
        BadRequest: *repository* is malformed, in the registry of *source*, or belongs to this server. In an own
            repository, a copy could replace an image that was built.
    """
    registry, slash, path = repository.partition("/")
    with member_errors("buildRepository"):
        if "://" in repository:
            raise BadRequest(f"{repository[:160]!r} must not begin with a scheme")
        if slash and ":" in path.rpartition("/")[2]:
            raise BadRequest(f"{repository[:160]!r} must not have a tag")
        parent = parse_registry(registry.lower()) + slash + path.rstrip("/")
        separator = "@" if source.digest else ":"
        target = parse_reference(f"{parent.rstrip('/')}/{source.repository}{separator}{source.reference}")
        if target.registry != parent.partition("/")[0]:
            raise BadRequest(
                f"{repository[:160]!r} must begin with the name of a registry, such as registry.example.org"
            )
        if target.registry == source.registry:
            raise BadRequest(f"the mirror of {source} would be in the registry of its source, {source.registry}")
        if rules_of((repositories.build, repositories.cache, repositories.public), ()).is_own(target):
            raise BadRequest(f"{target.name} belongs to this server; a mirror needs a repository of your own")
    return MirrorTarget(source, target)


def mirror_targets(names: Sequence[str], repository: str, repositories: Repositories) -> list[MirrorTarget]:
    """Return the targets of the images *names*, each once.

    Raises:
        BadRequest, TooLarge: a name is malformed, there are none or too many, or two images have the same target.
    """
    if not names:
        raise BadRequest("images must name at least one image")
    if len(names) > MAX_IMAGES:
        raise TooLarge(f"images has more than {MAX_IMAGES} entries")
    if not repository:
        raise BadRequest("mirror needs a buildRepository to copy to")
    targets = dict[str, MirrorTarget]()
    for name in names:
        with member_errors("images"):
            source = parse_reference(name)
        target = mirror_target(source, repository, repositories)
        if targets.setdefault(str(target.target), target).source != source:
            raise BadRequest(f"two images would be copied to {target.target}")
    return list(targets.values())
