"""The provenance of an augmented image: the base that its registry has, and what the token adds to it.

Source: SLSA, "Provenance", https://slsa.dev/spec/v1.0/provenance
"""

from importlib.metadata import version
from typing import Any

from swell.api.containers import ContainerConfig, ContainerLayer
from swell.oci.digest import Digest
from swell.oci.reference import Reference

BUILD_TYPE = "urn:swell:augmentation:v1"


def provenance_of(image: Reference, base: Digest, added: ContainerConfig) -> dict[str, Any]:
    """Return the predicate for *image* with the digest *base* after *added*; equal inputs give an equal predicate.

    It has no location of a layer, which may be a signed URL, and nothing about the token or its user. Everything else
    is in the config of the image as well.
    """
    layers = [layer for layer in added.layers or () if layer.gzip_digest]
    fields = {"entrypoint": added.entrypoint, "cmd": added.cmd, "env": added.env, "workingDir": added.working_dir}
    parameters = {"image": str(image)} | fields
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {name: value for name, value in parameters.items() if value},
            "resolvedDependencies": [_resource(image.name, base), *map(_layer, layers)],
        },
        "runDetails": {"builder": {"id": "swell", "version": {"swell": version("registry-proxy")}}},
    }


def _layer(layer: ContainerLayer) -> dict[str, Any]:
    return {"name": "layer"} | _digest(str(layer.gzip_digest))


def _resource(uri: str, digest: str) -> dict[str, Any]:
    return {"uri": uri} | _digest(digest)


def _digest(digest: str) -> dict[str, Any]:
    algorithm, _, encoded = digest.partition(":")
    return {"digest": {algorithm: encoded}}
