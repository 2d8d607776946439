"""What a scan needs of the programs that do the work."""

from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from swell.store.scans import DatabaseInfo, Finding

SIF_FILE = "image.sif"


class Sboms(Struct, frozen=True, kw_only=True):
    """The SBOM of an image: `native` in the tool's format, from which it is matched again; and two for people.

    `packages` is the number of packages.
    """

    native: bytes
    spdx: bytes
    cyclonedx: bytes
    packages: int


class Match(Struct, frozen=True, kw_only=True):
    """The findings of an SBOM, one for each vulnerability and package; `report` is the tool's own output."""

    findings: tuple[Finding, ...]
    report: bytes
    database: DatabaseInfo


class DatabaseCondition(StrEnum):
    """Whether a vulnerability database can be used."""

    GOOD = "good"
    MISSING = "missing"
    DAMAGED = "damaged"


class DatabaseState(Struct, frozen=True, kw_only=True):
    """The vulnerability database: `built` is None unless it is good; `message` says what is wrong."""

    condition: DatabaseCondition
    built: datetime | None = None
    schema: str = ""
    message: str = ""


class ScanTool(Protocol):
    """Lists packages, and matches them with its database. Its programs have no network and see no other image.

    Raises:
        ScanFailure: every method; the problem says why.
    """

    name: str
    """Programs and versions, such as `syft 1.57.1, grype 0.121.3`."""

    family: str
    """SBOMs of one family are never matched by another one: that loses findings."""

    async def catalogue(self, layout: Path, name: str) -> Sboms:
        """List the packages of the one image in the OCI image layout *layout*; *name* names it in the SBOMs.

        If *layout* has a file `SIF_FILE`, it is the image.
        """

    def count_packages(self, sbom: bytes) -> int:
        """Return the number of packages in an SBOM that `catalogue` returned."""

    async def match(self, sbom: bytes) -> Match:
        """Match an SBOM that `catalogue` returned with the database."""

    async def database(self) -> DatabaseState:
        """Return the state of the database."""
