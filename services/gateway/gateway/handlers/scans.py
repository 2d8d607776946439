"""`/v1alpha1/scans`: records, logs, SBOMs and reports of scans."""

from collections.abc import AsyncIterator

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from gateway.access.accounts.accounts import Accounts
from gateway.domain.access.record_access import Resource
from gateway.handlers.builds import started
from gateway.http.bodies import HttpRequest
from gateway.http.caller import Callers
from gateway.http.read_guard import reads
from gateway.scans.queries import ScanQueries
from swell.api.scans import AffectedList, ScanRecord
from swell.store.reports import SbomFormat


@get("/v1alpha1/scans/affected")
async def affected(
    request: HttpRequest,
    scan_queries: NamedDependency[ScanQueries],
    callers: NamedDependency[Callers],
    accounts: NamedDependency[Accounts],
) -> AffectedList:
    """List the images of all users that newer databases affect; for operators only."""
    await callers.require_operator(request.scope, accounts)
    return await scan_queries.affected()


class ScansController(Controller):
    path = "/v1alpha1/scans/{scan_id:str}"

    @get(opt=reads(Resource.SCAN))
    async def record(self, scan_id: FromPath[str], scan_queries: NamedDependency[ScanQueries]) -> ScanRecord:
        return await scan_queries.record(scan_id)

    @get("/logs", opt=reads(Resource.SCAN_FILE))
    async def logs(self, scan_id: FromPath[str], scan_queries: NamedDependency[ScanQueries]) -> Stream:
        return await download(await scan_queries.log(scan_id), f"{scan_id}.log")

    @get("/spdx", opt=reads(Resource.SCAN_FILE))
    async def spdx(
        self,
        scan_id: FromPath[str],
        scan_queries: NamedDependency[ScanQueries],
        platform: FromQuery[str | None] = None,
    ) -> Stream:
        return await download(await scan_queries.sbom(scan_id, SbomFormat.SPDX, platform), f"spdx-{scan_id}.json")

    @get("/cyclonedx", opt=reads(Resource.SCAN_FILE))
    async def cyclonedx(
        self,
        scan_id: FromPath[str],
        scan_queries: NamedDependency[ScanQueries],
        platform: FromQuery[str | None] = None,
    ) -> Stream:
        pieces = await scan_queries.sbom(scan_id, SbomFormat.CYCLONEDX, platform)
        return await download(pieces, f"cyclonedx-{scan_id}.json")

    @get("/report", opt=reads(Resource.SCAN_FILE))
    async def report(
        self,
        scan_id: FromPath[str],
        scan_queries: NamedDependency[ScanQueries],
        platform: FromQuery[str | None] = None,
    ) -> Stream:
        return await download(await scan_queries.report(scan_id, platform), f"report-{scan_id}.json")

    @get("/vex", opt=reads(Resource.SCAN_FILE))
    async def vex(self, scan_id: FromPath[str], scan_queries: NamedDependency[ScanQueries]) -> Stream:
        return await download(_one(await scan_queries.vex(scan_id)), f"vex-{scan_id}.json")


async def _one(content: bytes) -> AsyncIterator[bytes]:
    yield content


async def download(pieces: AsyncIterator[bytes], name: str) -> Stream:
    """A file that browsers store and do not render: it has texts from images."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Stream(await started(pieces), media_type="text/plain", headers=headers)
