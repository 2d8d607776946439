"""What is counted: metrics, by day, architecture and organisation."""

from collections.abc import Mapping
from enum import StrEnum
from itertools import product
from typing import NamedTuple

from msgspec import Struct

from swell.oci.platform import canonical_architecture

ARCHITECTURES = ("amd64", "arm64")


class Metric(StrEnum):
    """The metrics; a pull of an image with Fusion counts in `pulls` and in `fusion`.

    `bytes` is the size of the pulled images, and `hits` counts container requests whose image existed already.
    """

    BUILDS = "builds"
    PULLS = "pulls"
    FUSION = "fusion"
    MIRRORS = "mirrors"
    SCANS = "scans"
    BYTES = "bytes"
    HITS = "hits"


class Use(Struct, frozen=True, kw_only=True):
    """The use in one event: *count* times on *day* (UTC, 2026-11-23), by *organisation* or by anonymous users.

    *bytes* and *hits* are the counts of the metrics of these names.
    """

    event_id: str
    metrics: tuple[Metric, ...]
    day: str
    architecture: str
    organisation: str
    count: int = 1
    bytes: int = 0
    hits: int = 0

    def amount(self, metric: Metric) -> int:
        """What is added to the counts of *metric*."""
        match metric:
            case Metric.BYTES:
                return self.bytes
            case Metric.HITS:
                return self.hits
        return self.count

    @property
    def fields(self) -> list[str]:
        """The organisations whose counts include it; the empty name is the total."""
        return ["", self.organisation] if self.organisation else [""]


class Table(NamedTuple):
    """A table of counts by organisation: of one metric, on one day or in total, for one architecture or for all."""

    metric: Metric
    day: str | None = None
    architecture: str | None = None


Counts = Mapping[str, int]
"""The counts in a table by organisation; the empty name is the total, anonymous use included."""


class Usage(Struct, frozen=True):
    """`count` is the total, anonymous use included; `organisations` has the count of each organisation."""

    count: int
    organisations: Mapping[str, int]


def tables_of_day(day: str) -> list[Table]:
    """Return all tables of *day*."""
    return [Table(metric, day, architecture) for metric, architecture in product(Metric, (None, *ARCHITECTURES))]


def tables(use: Use) -> list[Table]:
    """Return the tables of *use*; only the architectures in `ARCHITECTURES` have tables of their own."""
    architecture = canonical_architecture(use.architecture)
    architectures = (None, architecture) if architecture in ARCHITECTURES else (None,)
    return [Table(*lines) for lines in product(use.metrics, (None, use.day), architectures)]
