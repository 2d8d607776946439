"""What a collection has found."""

import sys
from collections import Counter

from msgspec import Struct


class Finding(Struct, frozen=True):
    """Something that is not used: its kind, its name, and its size in bytes. It `waits` until it is old enough."""

    kind: str
    name: str
    size: int
    waits: bool = False


class Report:
    """Prints each finding, and then the numbers and bytes of each kind."""

    def __init__(self, *, deletes: bool) -> None:
        self._verb = "deleted" if deletes else "would be deleted"
        self.counts: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def add(self, finding: Finding) -> None:
        verb = "marked" if finding.waits else self._verb
        self.counts[f"{finding.kind} {verb}"] += 1
        self.bytes[f"{finding.kind} {verb}"] += finding.size
        sys.stdout.write(f"{finding.kind}\t{finding.size}\t{finding.name}\t{verb}\n")

    def finish(self) -> None:
        for kind in sorted(self.counts):
            sys.stdout.write(f"total: {self.counts[kind]} {kind}, {self.bytes[kind]} bytes\n")
        if not self.counts:
            sys.stdout.write("total: nothing\n")
