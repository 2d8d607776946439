"""What the builder finds out for us: which packages fulfil a wish."""

from grpc.aio import Channel

from gateway.submit.recipes.direct import Direct
from swell.oci.platform import Platform
from swell.rpc.channel import call
from swell.rpc.v1 import solver_pb2 as pb
from swell.rpc.v1.solver_pb2_grpc import SolverStub

_PATIENCE = 50  # seconds; more than the builder takes, who so tells that it was too long


class RemoteSolver:
    def __init__(self, channel: Channel) -> None:
        self._stub = SolverStub(channel)

    async def solve(self, wanted: Direct, platform: Platform) -> str:
        """The lock file for *wanted* on *platform*.

        Raises:
            BadRequest: nothing fulfils it; the message explains.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
            Unavailable: no answer in time.
        """
        request = pb.SolveRequest(
            platform=str(platform),
            specs=[*wanted.specs, *wanted.base_packages],
            channels=wanted.channels,
            lock=wanted.lock,
        )
        return (await call("builder", self._stub.Solve, request, seconds=_PATIENCE)).lock
