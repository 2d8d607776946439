"""How an image was built: the facts of one build, for its provenance.

The builder stores a `Provenance` for each successful build of one platform, as JSON, beside its log. Clients who know
the build id may read it, like the record and the log. It is not signed: it is the material for an attestation.
Source: SLSA, "Provenance", https://slsa.dev/spec/v1.0/provenance
"""

from datetime import datetime
from typing import Any, Self

import msgspec
from msgspec import Struct

from swell.api.containers import BuildOptions
from swell.api.package_layers import PackageLayers
from swell.oci.digest import Digest

MAX_SIZE = 4 << 20
"""Bytes of a stored `Provenance`. A larger one loses its `definition`, then its `materials`."""
MAX_MATERIALS = 10_000


class Material(Struct, frozen=True, omit_defaults=True):
    """Something that a build read from elsewhere: `name` is an image reference or a URL.

    `digest` is `algorithm:<hex>`, as the engine has verified it; None if the engine does not report it. `license` is
    what a package says of itself, at most 200 characters; normally an SPDX expression.
    """

    name: str
    digest: str | None = None
    license: str | None = None


class Evidence(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an engine knows of a build that has succeeded.

    - `engine` is its name and version, such as `buildkit 0.34.2`.
    - `definition` is the engine's own description: with BuildKit the predicate of SLSA provenance v1, with the steps as
      LLB (`internalParameters.buildConfig`) and the layers that each made (`runDetails.metadata.buildkit_metadata`).
    """

    engine: str = ""
    materials: tuple[Material, ...] = ()
    definition: dict[str, Any] | None = None


class Inputs(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The inputs of a build, as its id depends on them. Secrets are named, without their contents.

    `context` and `layers` are digests of gzipped tar files. A SIF file has the text of its definition in `definition`.
    """

    containerfile: str
    platform: str
    environment: str | None = None
    packages: PackageLayers | None = None
    options: BuildOptions = BuildOptions()
    context: Digest | None = None
    layers: tuple[Digest, ...] = ()
    definition: str | None = None


class Provenance(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts of one build: `digest` names the pushed manifest of `image`; times are UTC."""

    build_id: str
    image: str
    digest: Digest
    inputs: Inputs
    evidence: Evidence
    started: datetime
    ended: datetime
    version: str = ""
    """The version of Swell's builder."""

    def encoded(self) -> bytes:
        """Return JSON of at most `MAX_SIZE` bytes, without the parts of the evidence that do not fit."""
        smaller = (
            self,
            self._with(msgspec.structs.replace(self.evidence, definition=None)),
            self._with(Evidence(engine=self.evidence.engine)),
        )
        contents = map(msgspec.json.encode, smaller)
        return next((content for content in contents if len(content) <= MAX_SIZE), b"{}")

    def _with(self, evidence: Evidence) -> Self:
        return msgspec.structs.replace(self, evidence=evidence)


def parse_provenance(content: bytes) -> Provenance | None:
    """Read a stored `Provenance`; None if *content* is none."""
    try:
        return msgspec.json.decode(content, type=Provenance)
    except msgspec.DecodeError:
        return None
