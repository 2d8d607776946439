"""Container ids: the same inputs give the same id, here and at Wave, so that asking twice is one build.

The ids are Wave's to the bit; what goes into them and what does not is Wave's choice. SipHash with a public key is no
protection against somebody who looks for collisions.
"""

import struct
from collections.abc import Iterable, Mapping

import msgspec
from siphash24 import siphash24  # type: ignore[import-not-found]  # compiled, without stubs

from swell.api.containers import BuildCompression, BuildOptions, CompressionMode, ContainerConfig, ContainerLayer

_KEY = bytes(range(16))
_USUAL = {None, CompressionMode.GZIP}  # what images are compressed with when nothing is asked for


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
    """16 hex digits for what is built: the final texts, `os/architecture[/variant]` (several with commas), and the
    repository before any name is added.

    Of *context* its `tar_digest` counts, of *config* everything; give *config* only when it becomes part of the build.
    *options* and a *compression* that is not the usual one make another image, so they make another id too; Wave has no
    such options, and gives all compressions one id.
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
    if options and not options.is_empty:  # which Wave does not have; without it the id is Wave's
        attributes["buildOptions"] = msgspec.json.encode(options, order="deterministic").decode()
    if compression and (compression.level is not None or compression.force or compression.mode not in _USUAL):
        attributes["buildCompression"] = msgspec.json.encode(compression, order="deterministic").decode()
    return hash_of(attributes)


def hash_of(attributes: Mapping[str, str | None]) -> str:
    """16 hex digits for *attributes* in their order: SipHash-2-4 of the text that lists them, in UTF-16."""
    text = "".join(f"{name}\x1c{value or ''}\x1e" for name, value in attributes.items())
    digest: str = siphash24(text.encode("utf-16-le", "surrogatepass"), key=_KEY).hexdigest()
    return digest


def config_hash(config: ContainerConfig) -> int:
    """*config* as a signed 32-bit number, combined as Java combines hash codes; without layers as with none."""
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
