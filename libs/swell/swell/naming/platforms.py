"""The platforms that a request names."""

from swell.api.containers import ContainerRequest
from swell.errors import BadRequest
from swell.oci.platform import Platform, parse_platform

_MULTI = "linux/amd64,linux/arm64"


def parse_platforms(request: ContainerRequest) -> tuple[Platform, ...]:
    """Return the requested platforms in a fixed order: the container id depends on it.

    Raises:
        BadRequest: a platform, or several of them, are not possible for *request*.
    """
    names = (request.container_platform or "linux/amd64").split(",")
    platforms = tuple(sorted((parse_platform(name.strip()) for name in names), key=str))
    if not all(platform.os == "linux" for platform in platforms):
        raise BadRequest(f"containerPlatform {request.container_platform!r}: only linux is supported")
    if len(platforms) == 1:
        return platforms
    if ",".join(map(str, platforms)) != _MULTI:
        raise BadRequest(f"containerPlatform {request.container_platform!r}: several platforms must be {_MULTI}")
    if request.format == "sif" or not (request.container_file or request.packages):
        raise BadRequest("several platforms need a containerFile or packages, and no format sif")
    if request.container_includes and not request.freeze:
        raise BadRequest("containerIncludes of several platforms need freeze")
    return platforms
