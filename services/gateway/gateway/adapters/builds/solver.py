"""The solver of the builder: it locks the versions of packages."""

from grpc.aio import Channel

from swell.oci.platform import Platform
from swell.recipes.direct import DirectPackages
from swell.rpc.channel import call
from swell.rpc.v1 import solver_pb2 as pb
from swell.rpc.v1.solver_pb2_grpc import SolverStub

_TIMEOUT_SECONDS = 50  # longer than the builder's own timeout, whose error is more precise


class RemoteSolver:
    def __init__(self, channel: Channel) -> None:
        self._stub = SolverStub(channel)

    async def solve(self, packages: DirectPackages, platform: Platform) -> str:
        """Return the lock file of *packages* for *platform*, within 50 s.

        Raises:
            BadRequest: the packages cannot be installed together; the message explains why.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
            Unavailable: the builder did not answer in time.
        """
        request = pb.SolveRequest(
            platform=str(platform),
            specs=[*packages.specs, *packages.base_packages],
            channels=packages.channels,
            lock=packages.lock,
        )
        return (await call("builder", self._stub.Solve, request, seconds=_TIMEOUT_SECONDS)).lock
