"""Everything that a store of builds does."""

from typing import Protocol

from swell.store.builds.interest import BuildInterest
from swell.store.builds.queue import BuildQueue
from swell.store.builds.records import BuildRecords


class Builds(BuildQueue, BuildRecords, BuildInterest, Protocol):
    """The queue, the records and the interest in one store."""
