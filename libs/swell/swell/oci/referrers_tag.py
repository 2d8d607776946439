"""Tags under which clients find what refers to a manifest, where a registry has no referrers API.

Sources: OCI distribution-spec, "Referrers Tag Schema",
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema; cosign, "Signature
Specification", https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md#tag-based-discovery
"""

import re
from typing import NamedTuple

from swell.oci.digest import Digest, digest_of, tag_of

COSIGN_SUFFIXES = (".sig", ".att", ".sbom")
"""Older versions of cosign store signatures under `sha256-<hex>.sig`, without a subject."""

_FORM = re.compile(r"sha256-([0-9a-f]{64})(\.sig|\.att|\.sbom)?")


class ReferrersTag(NamedTuple):
    """`sha256-<hex>`, which names the index of the referrers of *subject*; or with a suffix, one referrer."""

    subject: Digest
    suffix: str = ""

    def __str__(self) -> str:
        return referrers_tag(self.subject) + self.suffix

    @property
    def key(self) -> Digest:
        """A digest that stands for the tag where referrers are stored by the digest of their subject."""
        return digest_of(str(self).encode())


def referrers_tag(digest: str) -> str:
    """Return the tag of the index of the referrers of *digest*: `sha256-<64 hex>`."""
    return tag_of(Digest(digest))


def parse_referrers_tag(tag: str) -> ReferrersTag | None:
    """Parse a tag; None if it is no tag of referrers of a sha256 digest."""
    match = _FORM.fullmatch(tag)
    return ReferrersTag(Digest(f"sha256:{match[1]}"), match[2] or "") if match else None
