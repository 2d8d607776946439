"""Which builds make versions of one image: those with the same name, as its user calls it, and any versions.

Packages are a name, without their versions; and so is the `name` of an environment. A container file has no name, so
the images below it count, without their tags. See docs/decisions/0045-series-of-builds.md.
"""

from hashlib import blake2b

import msgspec

from gateway.submit.request import BuildRequest
from swell.containerfile import parse
from swell.errors import SwellError
from swell.oci.reference import parse_reference


def series_of(request: BuildRequest, target_image: str, client: str) -> str:
    """The series of the builds that *client*, a hash, requests with this name; empty if *request* has no name."""
    is_of_packages = bool(request.tools or request.environment or request.template)
    packages = sorted({tool.name for tool in request.tools})
    names = packages if is_of_packages else _images_below(request.containerfile or "")
    if not names:
        return ""
    repository = target_image.rpartition(":")[0]
    parts = [client, repository, request.template or "", request.platform_names, request.sif, is_of_packages, names]
    return blake2b(msgspec.json.encode(parts), digest_size=16, person=b"swell series").hexdigest()


def _images_below(containerfile: str) -> list[str]:
    """The repositories of the images of all stages, in order; empty for a definition file of Apptainer."""
    try:
        images = [stage.image for stage in parse(containerfile).stages]
        return [parse_reference(image).name for image in images if image]
    except SwellError:
        return []
