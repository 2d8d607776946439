"""The URLs of registries."""

from yarl import URL

from swell.errors import BadRequest
from swell.net.addresses import is_loopback
from swell.net.outbound import reachable
from swell.oci.reference import DOCKER_HUB


def endpoint(registry: str, insecure: frozenset[str] = frozenset()) -> URL:
    """Return the URL of *registry*: https, or plain http when it is on this machine or *insecure* contains it.

    Raises:
        BadRequest: the name is not a valid host.
    """
    if registry == DOCKER_HUB:
        return URL("https://registry-1.docker.io")
    secure = reachable(f"https://{registry}")
    if secure is None:
        raise BadRequest(f"'{registry}' is not a registry: there can be no host of that name")
    plain = is_loopback(secure.host or "") or not insecure.isdisjoint({registry, secure.host})
    return URL(f"http://{registry}") if plain else secure
