"""Container ids: the same inputs give the same id, so the same request twice is one build.

The ids equal Wave's. SipHash with a public key does not protect against deliberate collisions.
Source: Wave's documentation, "Container ID", https://docs.seqera.io/wave/api;
Aumasson and Bernstein, "SipHash: a fast short-input PRF", https://www.aumasson.jp/siphash/siphash.pdf
"""

import struct
from collections.abc import Iterable, Mapping

import msgspec
from siphash24 import siphash24  # type: ignore[import-not-found]  # compiled, without stubs

from swell.api.containers import BuildCompression, BuildOptions, CompressionMode, ContainerConfig, ContainerLayer

_KEY = bytes(range(16))
_DEFAULT_MODES = {None, CompressionMode.GZIP}


def container_id(
    *,
    containerfile: str,
    conda_file: str | None = None,
    platform: str,
    repository: str,
    context: ContainerLayer | None = None,
    config: ContainerConfig | None = None,
    options: BuildOptions | None = None,
    compression: BuildCompression | None = None,
) -> str:
    """16 hexadecimal digits for the inputs of a build.

    - *platform* is `os/architecture[/variant]`; several are separated by commas.
    - *repository* is the repository before a name is added.
    - Only the `tar_digest` of *context* counts. Pass *config* only if it becomes part of the build.
    - *options*, and a *compression* other than the default, change the id. Wave has no such options, and its ids ignore
      the compression.
    """
    attributes = {
        "containerFile": containerfile,
        "condaFile": conda_file,
        "platform": platform,
        "repository": repository,
    }
    if context:
        attributes["buildContext"] = context.tar_digest
    if config and not config.is_empty:
        attributes["containerConfig"] = str(config_hash(config))
    if options and not options.is_empty:  # without options, the id equals Wave's
        attributes["buildOptions"] = msgspec.json.encode(options, order="deterministic").decode()
    if compression and (compression.level is not None or compression.force or compression.mode not in _DEFAULT_MODES):
        attributes["buildCompression"] = msgspec.json.encode(compression, order="deterministic").decode()
    return hash_of(attributes)


def hash_of(attributes: Mapping[str, str | None]) -> str:
    """16 hexadecimal digits: SipHash-2-4 of the text that lists *attributes* in their order, in UTF-16."""
    text = "".join(f"{name}\x1c{value or ''}\x1e" for name, value in attributes.items())
    digest: str = siphash24(text.encode("utf-16-le", "surrogatepass"), key=_KEY).hexdigest()
    return digest


def config_hash(config: ContainerConfig) -> int:
    """The hash code of *config*, a signed 32-bit number, as Java computes it; no layers count as an empty list."""
    layers = [
        _combined((_hash(layer.location), _hash(layer.gzip_digest), layer.gzip_size or 0, _hash(layer.tar_digest)))
        for layer in config.layers or ()
    ]
    members = (_hash(config.entrypoint), _hash(config.cmd), _hash(config.env), _hash(config.working_dir))
    return _signed(_combined((*members, _combined(layers))))


def _hash(value: str | tuple[str, ...] | None) -> int:
    match value:
        case None:
            return 0
        case str():
            return _combined(_utf16_units(value), start=0)
    return _combined(_hash(item) for item in value)


def _combined(hashes: Iterable[int], start: int = 1) -> int:
    total = start
    for value in hashes:
        total = (31 * total + value) % 2**32
    return total


def _utf16_units(text: str) -> Iterable[int]:
    return (unit for (unit,) in struct.iter_unpack("<H", text.encode("utf-16-le", "surrogatepass")))


def _signed(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value
