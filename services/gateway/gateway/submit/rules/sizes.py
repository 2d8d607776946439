"""How long the texts of a request may be."""

import msgspec

from gateway.submit.rules.layers import ZLIB_SCHEME
from gateway.submit.rules.texts import MAX_CONDA_FILE
from swell.api.containers import ContainerRequest
from swell.conda.match_specs import is_parser_loaded
from swell.errors import TooLarge

FAST_SIZE = 4 << 10  # characters; smaller requests are validated within some milliseconds
MAX_TEXT = 2048  # characters of a name or a URL

_SHORT_MEMBERS = {
    field.name: field.encode_name
    for field in msgspec.structs.fields(ContainerRequest)
    if field.type == str | None and not field.name.endswith(("_file", "_token"))
}


def check_sizes(request: ContainerRequest) -> None:
    """Check the lengths of all texts: records of requests are stored for months; raises `TooLarge`."""
    if len(request.conda_file or "") > MAX_CONDA_FILE:
        raise TooLarge(f"condaFile has more than {MAX_CONDA_FILE} characters")
    for name, member in _SHORT_MEMBERS.items():
        if len(getattr(request, name) or "") > MAX_TEXT:
            raise TooLarge(f"{member} has more than {MAX_TEXT} characters")


def is_slow_to_validate(request: ContainerRequest) -> bool:
    """Whether the texts of *request* are long, or packed twice: a kilobyte of `gzip:` can become a gigabyte.

    To validate the largest environment takes about a second.

    The first packages load the parser of match specifications.
    """
    if request.packages and not is_parser_loaded():
        return True
    config, packages = request.container_config, request.packages
    layers = (*((config.layers or ()) if config else ()), request.build_context)
    texts = [layer.location for layer in layers if layer]
    if any(text.startswith(ZLIB_SCHEME) for text in texts):
        return True
    texts += [request.container_file or "", request.conda_file or ""]
    if packages:
        texts += [packages.environment or "", *(packages.entries or ())]
    return sum(map(len, texts)) > FAST_SIZE
