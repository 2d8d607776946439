"""`swell.rpc.v1.Solver`: solves environments for the gateway, before it answers a request for packages."""

from collections.abc import Sequence
from typing import Protocol

from builder.domain.search import FoundPackage
from swell.errors import BadRequest
from swell.oci.platform import Platform, parse_platform
from swell.rpc.server import answers
from swell.rpc.v1 import solver_pb2 as pb
from swell.rpc.v1.solver_pb2_grpc import SolverServicer

LONGEST_TEXT = 60  # characters


class EnvironmentSolver(Protocol):
    async def solve(self, specs: Sequence[str], channels: Sequence[str], lock: str, platform: Platform) -> str:
        """See `builder.solve.EnvironmentSolver`."""


class Catalogue(Protocol):
    @property
    def channels(self) -> Sequence[str]:
        """The channels that are searched."""

    async def search(self, text: str, platform: Platform) -> list[FoundPackage]:
        """See `builder.conda.catalogue.Catalogue`."""


class SolverHandler(SolverServicer):
    def __init__(self, solving: EnvironmentSolver, catalogue: Catalogue) -> None:
        self._solving = solving
        self._catalogue = catalogue

    @answers
    async def Solve(self, request: pb.SolveRequest) -> pb.SolveResponse:
        platform = parse_platform(request.platform)
        return pb.SolveResponse(lock=await self._solving.solve(request.specs, request.channels, request.lock, platform))

    @answers
    async def Search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        if len(request.text) > LONGEST_TEXT:
            raise BadRequest(f"a search has at most {LONGEST_TEXT} characters")
        found = await self._catalogue.search(request.text, parse_platform(request.platform))
        packages = [
            pb.FoundPackage(name=each.name, channel=each.channel, versions=each.versions, summary=each.summary)
            for each in found
        ]
        return pb.SearchResponse(packages=packages, channels=self._catalogue.channels)
