"""The storage of signed statements about builds, beside their logs.

Each is a sigstore bundle, with the same bytes as the one that is attached to the image in its registry.
"""

from enum import StrEnum


class Attestation(StrEnum):
    """What a builder attests; the value is the last part of the path of its route."""

    SIGNATURE = "signature"
    PROVENANCE = "provenance"
    SBOM = "sbom"


def attestation_key(build_id: str, kind: Attestation) -> str:
    """Return the key of a bundle in the bucket swell-logs."""
    return f"{build_id}.{kind}.sigstore.json"
