"""`/v1alpha1/builds/{id}`: what a build was asked, how far it is, what it said."""

from collections.abc import AsyncIterator

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect, Stream
from litestar.status_codes import HTTP_307_TEMPORARY_REDIRECT

from gateway.download import Downloads
from gateway.follow import Following
from swell.api.builds import BuildRecord, BuildStatus


class BuildsController(Controller):
    path = "/v1alpha1/builds/{build_id:str}"

    @get()
    async def record(self, build_id: FromPath[str], following: NamedDependency[Following]) -> BuildRecord:
        return await following.build(build_id)

    @get("/status")
    async def status(self, build_id: FromPath[str], following: NamedDependency[Following]) -> BuildStatus:
        return await following.build_status(build_id)

    @get("/condalock")
    async def lock(self, build_id: FromPath[str], following: NamedDependency[Following]) -> Stream:
        return Stream(await begun(await following.lock(build_id)), media_type="text/plain")

    @get("/sif", status_code=HTTP_307_TEMPORARY_REDIRECT)
    async def sif(self, build_id: FromPath[str], downloads: NamedDependency[Downloads]) -> Redirect:
        """Ranges and conditions are answered where it leads to."""
        return Redirect((await downloads.sif(build_id)).url, status_code=HTTP_307_TEMPORARY_REDIRECT)

    @get("/logs")
    async def logs(self, build_id: FromPath[str], following: NamedDependency[Following]) -> Stream:
        return Stream(await begun(await following.log(build_id)), media_type="text/plain")  # Litestar adds the charset


async def begun(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """*pieces*, the first of them fetched already: what is wrong with it is still told by the answer's status."""
    first = await anext(pieces, None)

    async def all_pieces() -> AsyncIterator[bytes]:
        if first is not None:
            yield first
        async for piece in pieces:
            yield piece

    return all_pieces()
