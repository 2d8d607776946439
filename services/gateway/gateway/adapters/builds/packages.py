"""The catalogue of packages in the builder."""

from grpc.aio import Channel

from gateway.package_search import Found, FoundPackage
from swell.rpc.channel import call
from swell.rpc.v1 import solver_pb2 as pb
from swell.rpc.v1.solver_pb2_grpc import SolverStub

_SEARCH_SECONDS = 50  # the first search of a channel downloads its list of packages
_CHANNELS_SECONDS = 2  # the page opens without the channels if the builder is slow


class RemotePackages:
    def __init__(self, channel: Channel) -> None:
        self._stub = SolverStub(channel)

    async def search(self, text: str, platform: str) -> Found:
        request = pb.SearchRequest(text=text, platform=platform)
        response = await call(
            "builder", self._stub.Search, request, seconds=_SEARCH_SECONDS if text else _CHANNELS_SECONDS
        )
        packages = tuple(
            FoundPackage(each.name, each.channel, tuple(each.versions), each.summary) for each in response.packages
        )
        return Found(packages, tuple(response.channels))
