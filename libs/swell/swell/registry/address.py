"""Where registries answer."""

from yarl import URL

from swell.addresses import is_loopback
from swell.oci.reference import DOCKER_HUB


def endpoint(registry: str, insecure: frozenset[str] = frozenset()) -> URL:
    """Where *registry* answers: by https, or by plain http when it is on this machine or *insecure* names it."""
    if registry == DOCKER_HUB:
        return URL("https://registry-1.docker.io")
    secure = URL(f"https://{registry}")
    plain = is_loopback(secure.host or "") or not insecure.isdisjoint({registry, secure.host})
    return URL(f"http://{registry}") if plain else secure
