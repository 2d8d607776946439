"""Which repositories a request may name, and which ones its build uses."""

from gateway.domain.repositories import Repositories
from swell.api.containers import BuildOptions, ContainerRequest
from swell.errors import BadRequest
from swell.naming.image_name import build_repository
from swell.oci.reference import parse_reference
from swell.recipes.members import member_errors


def check_repositories(request: ContainerRequest) -> None:
    """Check the names of the repositories in *request*; raises `BadRequest`."""
    if request.mirror:
        return
    repositories = {"buildRepository": request.build_repository, "cacheRepository": request.cache_repository}
    for member, repository in repositories.items():
        if repository:
            _check_repository(member, repository)


def _check_repository(member: str, repository: str) -> None:
    if "://" in repository:
        raise BadRequest(f"{member} must not begin with a scheme such as {repository.partition('://')[0]}://")
    if "/" not in repository:
        raise BadRequest(f"{member} {repository!r} needs a path after the registry")
    if ":" in repository.rpartition("/")[2]:
        raise BadRequest(f"{member} {repository!r} must not have a tag")
    with member_errors(member):
        parse_reference(repository)


def check_freeze(request: ContainerRequest, repositories: Repositories) -> None:
    """Check that a frozen image has a repository where it stays; raises `BadRequest`."""
    if not request.freeze or repositories.is_custom(request.build_repository):
        return
    if request.packages and not repositories.public:
        raise BadRequest("freeze of packages needs a buildRepository of your own")
    if request.container_file or request.container_image:
        raise BadRequest("freeze needs a buildRepository of your own")


def requested_repository(request: ContainerRequest, repositories: Repositories) -> str:
    """Return the client's repository, or the one of this server that is meant for *request*."""
    default = repositories.public if request.freeze and repositories.public else repositories.build
    return request.build_repository or default


def repository_of(request: ContainerRequest, repositories: Repositories) -> str:
    """Return the repository that the build of *request* pushes to; raises `BadRequest` if it is reserved."""
    return build_repository(
        requested_repository(request, repositories),
        strategy=request.name_strategy,
        public=repositories.public,
        reserved=repositories.reserved if request.build_repository else frozenset(),
    )


def cache_repository_of(request: ContainerRequest, repositories: Repositories) -> str | None:
    """The client's cache for the client's repository, the server's cache for a repository of the server.

    Never mixed: an image in a repository of the server answers every client with the same recipe, so no client may
    control its cached steps. The server's cache has no steps of builds with secrets: clients without the secrets read
    it, and the key of a step does not depend on them. It has none of builds with proxies of the client either: the key
    does not depend on these, so other clients would get what steps have downloaded through them.
    """
    if repositories.is_custom(request.build_repository):
        return request.cache_repository if repositories.is_custom(request.cache_repository) else None
    is_shared = not (request.build_secrets or BuildOptions(build_args=request.build_args or {}).proxies)
    return repositories.cache if is_shared else None
