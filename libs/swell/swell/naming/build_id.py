"""Container ids: the same inputs give the same id, so the same request twice is one build.

The ids equal Wave's. SipHash with a public key does not protect against deliberate collisions, so records have a
fingerprint of the inputs too, which the gateway compares.
Source: Wave's documentation, "Container ID", https://docs.seqera.io/wave/api;
Aumasson and Bernstein, "SipHash: a fast short-input PRF", https://www.aumasson.jp/siphash/siphash.pdf
"""

import hashlib
import struct
from collections.abc import Iterable, Mapping

import msgspec
from msgspec import Struct
from siphash24 import siphash24  # type: ignore[import-not-found]  # compiled, without stubs

from swell.api.containers import BuildCompression, BuildOptions, CompressionMode, ContainerConfig, ContainerLayer
from swell.errors import BadRequest

_KEY = bytes(range(16))
_DEFAULT_MODES = {None, CompressionMode.GZIP}
_SEPARATORS = frozenset("\x1c\x1e")  # of `hash_of`


class BuildInputs(Struct, frozen=True, kw_only=True):
    """The inputs of a build.

    - `platform` is `os/architecture[/variant]`; several are separated by commas.
    - `repository` is the repository before a name is added.
    - Only the `tar_digest` of `context` counts. `config` is given only if it becomes part of the build.
    - `options`, and a `compression` other than the default, change the id. Wave has no such options, and its ids ignore
      the compression.
    """

    containerfile: str
    platform: str
    repository: str
    conda_file: str | None = None
    context: ContainerLayer | None = None
    config: ContainerConfig | None = None
    options: BuildOptions | None = None
    compression: BuildCompression | None = None

    @property
    def container_id(self) -> str:
        """16 hexadecimal digits."""
        return hash_of(self._attributes())

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the inputs, in hexadecimal digits. It is stored without an end, so its form does not change.

        Raises:
            BadRequest: a text contains a separator of the inputs of container ids, so that its end is unknown there.
        """
        attributes = self._attributes()
        for name, value in attributes.items():
            if _SEPARATORS.intersection(value or ""):
                raise BadRequest(f"{name} contains the control character U+001C or U+001E, which it cannot have")
        return hashlib.sha256(msgspec.json.encode(list(attributes.items()))).hexdigest()

    def _attributes(self) -> dict[str, str | None]:
        attributes = {
            "containerFile": self.containerfile,
            "condaFile": self.conda_file,
            "platform": self.platform,
            "repository": self.repository,
        }
        if self.context:
            attributes["buildContext"] = self.context.tar_digest
        if self.config and not self.config.is_empty:
            attributes["containerConfig"] = str(config_hash(self.config))
        if self.options and not self.options.is_empty:  # without options, the id equals Wave's
            attributes["buildOptions"] = msgspec.json.encode(self.options, order="deterministic").decode()
        if (chosen := self.compression) and (
            chosen.level is not None or chosen.force or chosen.mode not in _DEFAULT_MODES
        ):
            attributes["buildCompression"] = msgspec.json.encode(chosen, order="deterministic").decode()
        return attributes


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
