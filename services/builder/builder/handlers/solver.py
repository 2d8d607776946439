"""`swell.rpc.v1.Solver`: solves environments for the gateway, before it answers a request for packages."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from swell.oci.platform import Platform, parse_platform
from swell.rpc.server import Context, answer
from swell.rpc.v1 import solver_pb2 as pb
from swell.rpc.v1.solver_pb2_grpc import SolverServicer


class EnvironmentSolver(Protocol):
    async def solve(self, specs: Sequence[str], channels: Sequence[str], lock: str, platform: Platform) -> str:
        """See `builder.solve.EnvironmentSolver`."""


class SolverHandler(SolverServicer):
    def __init__(self, solving: EnvironmentSolver) -> None:
        self._solving = solving

    async def Solve(self, request: pb.SolveRequest, context: Context) -> pb.SolveResponse:  # noqa: N802
        return await answer(context, "Solve", partial(self._solve, request))

    async def _solve(self, request: pb.SolveRequest) -> pb.SolveResponse:
        platform = parse_platform(request.platform)
        return pb.SolveResponse(lock=await self._solving.solve(request.specs, request.channels, request.lock, platform))
