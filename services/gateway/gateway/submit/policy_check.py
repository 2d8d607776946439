"""Check a container request against the policy: what it reads, where it pushes, and its Conda channels."""

from collections.abc import Iterable, Iterator

from gateway.access.images.image_access import ImageAccess
from gateway.domain.access.identity import Identity
from gateway.domain.channels import denied_by
from gateway.domain.named_channels import channels_in
from gateway.domain.policy import ClientRules
from gateway.submit.request import BuildRequest
from swell.oci.reference import Reference, parse_reference


async def check_request(request: BuildRequest, identity: Identity, rules: ClientRules, access: ImageAccess) -> None:
    """Check *request* against the limits of the key of *identity*, and against *rules*.

    Raises:
        BadRequest: a name in the recipe cannot be parsed, so that it cannot be checked.
        PolicyDenied, ScopeRequired: the request is not allowed; the message says what to change.
    """
    if not identity.repositories and rules.rules.is_empty:
        return
    if rules.rules.denied_channels:
        _check_channels(request, rules, rules.rules.denied_channels)
    bases = request.base_images() if request.containerfile else []
    images = [*request.images_to_read(), *bases]
    targets = [target for target in _targets(request) if not access.is_own(target)]
    identity.check_images([*images, *targets])
    rules.check_images(image for image in images if not access.is_own(image))
    await access.origins.check(rules, images)
    rules.check_targets(targets)
    if request.cache_repository and not access.is_own(cache := parse_reference(request.cache_repository)):
        rules.check_place(cache)


def _targets(request: BuildRequest) -> list[Reference]:
    if request.mirror:
        return [request.mirror]
    names = (request.repository, request.cache_repository) if request.needs_build else ()
    return [parse_reference(name) for name in names if name and "/" in name]


def _check_channels(request: BuildRequest, rules: ClientRules, denied: Iterable[str]) -> None:
    if request.uses_lock_url:
        raise rules.deny_unknown_channels("those of a lock file that is named by its URL are not known; send the file")
    for channel in _channels(request):
        if entry := denied_by(channel, denied):
            raise rules.deny_channel(channel, entry)


def _channels(request: BuildRequest) -> Iterator[str]:
    """The channels that the packages of *request* name, and the URLs of packages."""
    if direct := request.direct:
        yield from direct.channels
        yield from channels_in(base_packages=direct.specs, lock=direct.lock)
    yield from channels_in(request.environment, request.base_packages)
