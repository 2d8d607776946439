"""What is counted, and along which lines people ask for it."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from typing import NamedTuple

from msgspec import Struct

from swell.oci.platform import canonical_architecture

ARCHITECTURES = ("amd64", "arm64")


class Metric(StrEnum):
    """A pull with Fusion in it is a pull and a `fusion`."""

    BUILDS = "builds"
    PULLS = "pulls"
    FUSION = "fusion"
    MIRRORS = "mirrors"
    SCANS = "scans"


class Use(Struct, frozen=True, kw_only=True):
    """What an event tells: *count* times on *day* (UTC, 2026-11-23), by people of *organisation* or anonymous ones."""

    event_id: str
    metrics: tuple[Metric, ...]
    day: str
    architecture: str
    organisation: str
    count: int = 1


class Table(NamedTuple):
    """The numbers of one question: a metric on a day or ever, for an architecture or any; each organisation has one,
    and so have all together."""

    metric: Metric
    day: str | None = None
    architecture: str | None = None


class Usage(Struct, frozen=True):
    """`count` is of all that was asked for, anonymous use included; `organisations` are those who had a part in it."""

    count: int
    organisations: Mapping[str, int]


def tables(use: Use) -> list[Table]:
    """Where *use* counts. An architecture that nobody can ask for has no tables of its own."""
    architecture = canonical_architecture(use.architecture)
    architectures = (None, architecture) if architecture in ARCHITECTURES else (None,)
    return [Table(*lines) for lines in product(use.metrics, (None, use.day), architectures)]
