"""`/v1alpha1/builds/{id}`: what a build was asked, how far it is, what it said."""

from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Stream

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

    @get("/logs")
    async def logs(self, build_id: FromPath[str], following: NamedDependency[Following]) -> Stream:
        return Stream(await following.log(build_id), media_type="text/plain")  # Litestar adds the charset
