"""`swell.rpc.v1.Solver`: the gateway's questions about packages, before it promises an image of them."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from swell.oci.platform import Platform, parse_platform
from swell.rpc.server import Context, answer
from swell.rpc.v1 import solver_pb2 as pb
from swell.rpc.v1.solver_pb2_grpc import SolverServicer


class Solving(Protocol):
    async def solve(self, specs: Sequence[str], channels: Sequence[str], lock: str, platform: Platform) -> str:
        """See `builder.solve.Solving`."""


class SolverHandler(SolverServicer):
    def __init__(self, solving: Solving) -> None:
        self._solving = solving

    async def Solve(self, request: pb.SolveRequest, context: Context) -> pb.SolveResponse:  # noqa: N802
        return await answer(context, "Solve", partial(self._solve, request))

    async def _solve(self, request: pb.SolveRequest) -> pb.SolveResponse:
        platform = parse_platform(request.platform)
        return pb.SolveResponse(lock=await self._solving.solve(request.specs, request.channels, request.lock, platform))
