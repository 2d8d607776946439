"""The entries of an index: which ones a pull needs, and an index with other entries."""

from collections.abc import Iterable, Mapping

from swell.errors import ManifestInvalid, ManifestUnknown
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.media_types import INDEXES, MANIFESTS
from swell.oci.mutate import repointed
from swell.oci.platform import Platform

MAX_DEPTH = 4  # indexes within indexes; each level costs a request to the registry

_SUBJECT = "vnd.docker.reference.digest"  # the image that an attestation of BuildKit describes


def choose(index: Document, platforms: Iterable[Platform]) -> tuple[Descriptor, ...]:
    """Return the entries of *index* to augment: the best ones for each of *platforms*.

    If a platform has no entry, nested indexes and manifests without a platform are added: their documents decide.

    Raises:
        ManifestUnknown: no entry is for any of *platforms*; the message names the platforms of the index.
    """
    manifests = [entry for entry in index.manifests if entry.media_type in MANIFESTS or not entry.media_type]
    wanted = tuple(platforms)
    chosen = [_best(manifests, platform) for platform in wanted]
    positions = {position for best in chosen for position in best}
    found = [entry for position, entry in enumerate(manifests) if position in positions]
    if not all(chosen):
        found += [entry for entry in index.manifests if entry.media_type in INDEXES]
        found += [entry for entry in manifests if not (entry.platform or subject(entry))]
    if not found:
        names = " and ".join(map(str, wanted))
        raise ManifestUnknown(f"The image is not made for {names}, but for {platform_names(manifests)}")
    return tuple({entry.digest: entry for entry in found}.values())  # one manifest may be for several platforms


def _best(entries: Iterable[Descriptor], platform: Platform) -> list[int]:
    """Return the positions of the best of *entries* for *platform*; several may be equal."""
    ranks = [platform.rank(entry.platform or {}) for entry in entries]
    lowest = min((rank for rank in ranks if rank is not None), default=None)
    return [position for position, rank in enumerate(ranks) if rank is not None and rank == lowest]


def deeper(depth: int) -> int:
    """Return the depth of the entries of an index at *depth*.

    Raises:
        ManifestInvalid: indexes are nested more than `MAX_DEPTH` deep.
    """
    if depth == MAX_DEPTH:
        raise ManifestInvalid(f"The image has more than {MAX_DEPTH} indexes within each other")
    return depth + 1


def augment_index(index: Document, replaced: Mapping[Digest, Document]) -> Document:
    """Return *index* with the entries of *replaced* digests changed to their new documents.

    Attestations of a replaced image are removed, because they describe the old one. Other entries do not change.
    """
    changed = {digest: document for digest, document in replaced.items() if document.digest != digest}
    entries = zip(index.manifests, index.fields["manifests"] or (), strict=True)
    return index.changed(
        manifests=[
            repointed(fields, changed[entry.digest]) if entry.digest in changed else fields
            for entry, fields in entries
            if subject(entry) not in changed
        ]
    )


def check_platform(config: Document, platforms: Iterable[Platform]) -> None:
    """Check that the image of *config* is for one of *platforms*.

    Raises:
        ManifestUnknown: it is for another platform.
    """
    wanted = tuple(platforms)
    if not any(platform.matches(config.fields) for platform in wanted):
        names = " and ".join(map(str, wanted))
        raise ManifestUnknown(f"The image is not made for {names}, but for {spelt(config.fields)}")


def subject(entry: Descriptor) -> Digest | None:
    """Return the image that *entry*, an attestation, describes; None for other entries."""
    named = (entry.annotations or {}).get(_SUBJECT)
    return Digest(named) if named else None


def platform_names(entries: Iterable[Descriptor]) -> str:
    """Return the distinct platforms of *entries*, without those of attestations."""
    named = [entry.platform for entry in entries if entry.platform and entry.platform.get("os") != "unknown"]
    return ", ".join(sorted({spelt(platform) for platform in named})) or "no platform at all"


def spelt(platform: Mapping[str, object]) -> str:
    parts = (platform.get("os"), platform.get("architecture"), platform.get("variant"))
    return "/".join(str(part) for part in parts if part)
