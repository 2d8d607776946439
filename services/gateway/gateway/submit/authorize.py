"""What a caller may read and push for a container request."""

from contextlib import suppress

from msgspec.structs import replace

from gateway.access.images.image_access import ImageAccess
from gateway.domain.access.identity import Caller, Scope, reader_of
from gateway.domain.repositories import Repositories
from gateway.submit.policy_check import check_request
from gateway.submit.request import BuildRequest
from swell.api.containers import ScanMode
from swell.errors import BadRequest


async def authorize(request: BuildRequest, caller: Caller, access: ImageAccess) -> Caller:
    """Return *caller* with the principals that may read the images of *request* and push its result.

    Raises:
        PolicyDenied: the policy does not allow it.
        ScopeRequired: *caller* may not do this, push to the repository, or read an image of this server.
    """
    caller.identity.require(*_scopes_for(request))
    push_principal = caller.push_principal
    if request.mirror:
        push_principal = await access.push_principal(push_principal, request.mirror.name)
    if request.needs_build:
        push_principal = await access.push_principal(push_principal, request.repository, request.cache_repository)
    rules = access.rules_for(caller.identity)
    await check_request(request, caller.identity, rules, access)
    images = request.images_to_read()
    if request.containerfile:
        with suppress(BadRequest):  # the build reports a name that cannot be parsed
            images += request.base_images()
    principal = await access.pull_principal_for_all(reader_of(caller), images)
    base_rules = rules.base_rules.limited_to(caller.identity.repositories)
    return replace(caller, principal=principal, push_principal=push_principal, base_rules=base_rules)


def with_cache(request: BuildRequest, caller: Caller, repositories: Repositories) -> BuildRequest:
    """Return *request* with the cache of the caller's organisation instead of the server's."""
    if request.cache_repository is None or request.cache_repository != repositories.cache:
        return request
    return replace(request, cache_repository=repositories.cache_of(caller.identity.organisation))


def _scopes_for(request: BuildRequest) -> list[Scope]:
    """What the caller must be allowed to do for *request*."""
    scopes = [Scope.MIRROR if request.mirror else Scope.BUILD if request.needs_build else Scope.PULL]
    if request.scan_mode not in {None, ScanMode.NONE}:
        scopes.append(Scope.SCAN)
    return scopes
