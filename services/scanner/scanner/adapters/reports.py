"""Stores SBOMs, reports and logs in the object store."""

import asyncio
from datetime import timedelta

import msgspec

from scanner.tools.protocol import Match, Sboms
from swell.oci.digest import Digest
from swell.signing.predicates import packages_of
from swell.store.logs import lock_key
from swell.store.objects import Objects
from swell.store.reports import SbomFormat, earlier_sbom_key, findings_key, log_key, report_key, sbom_key
from swell.store.scans import Finding

_JSON, _TEXT = "application/json", "text/plain; charset=utf-8"


class Reports:
    """See `scanner.scan.Reports`; *family* is that of the tool, *age* after which a used SBOM is renewed."""

    def __init__(self, objects: Objects, family: str, age: timedelta) -> None:
        self._objects = objects
        self._family = family
        self._age = age

    async def sbom(self, repository: str, manifest: Digest) -> bytes | None:
        content = await self._objects.get(sbom_key(repository, manifest, self._family))
        if content is not None:
            keys = (sbom_key(repository, manifest, name) for name in (self._family, *SbomFormat))
            await asyncio.gather(*(self._objects.renew(key, self._age) for key in keys))
        return content

    async def scanned_sbom(self, repository: str, manifest: Digest) -> bytes | None:
        stored = await self.sbom(repository, manifest)
        return stored or await self._objects.get(earlier_sbom_key(manifest, self._family))

    async def put_sboms(self, repository: str, manifest: Digest, sboms: Sboms) -> None:
        """Store all formats; the native one last, because it says that the others are there."""
        await asyncio.gather(
            self._objects.put(sbom_key(repository, manifest, SbomFormat.SPDX), sboms.spdx, _JSON),
            self._objects.put(sbom_key(repository, manifest, SbomFormat.CYCLONEDX), sboms.cyclonedx, _JSON),
        )
        await self._objects.put(sbom_key(repository, manifest, self._family), sboms.native, _JSON)

    async def put_match(self, scan_id: str, manifest: Digest, match: Match) -> None:
        findings = msgspec.json.encode(match.findings)
        await asyncio.gather(
            self._objects.put(report_key(scan_id, manifest), match.report, _JSON),
            self._objects.put(findings_key(scan_id, manifest), findings, _JSON),
        )

    async def findings(self, scan_id: str, manifest: Digest) -> tuple[Finding, ...]:
        content = await self._objects.get(findings_key(scan_id, manifest))
        return msgspec.json.decode(content, type=tuple[Finding, ...]) if content else ()

    async def put_log(self, scan_id: str, text: str) -> None:
        await self._objects.put(log_key(scan_id), text.encode(), _TEXT)


class BuildLocks:
    """See `scanner.build_sboms.Locks`; *logs* is the bucket of logs."""

    def __init__(self, logs: Objects) -> None:
        self._logs = logs

    async def lists_packages(self, build_id: str) -> bool:
        content = await self._logs.get(lock_key(build_id)) or b""
        return any(packages_of(content.decode(errors="replace")))
