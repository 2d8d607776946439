"""Usage counts, from the metrics service over gRPC."""

from grpc.aio import Channel

from gateway.usage import Usage, UsageQuery
from swell.rpc.channel import call
from swell.rpc.v1 import counters_pb2 as pb
from swell.rpc.v1.counters_pb2_grpc import CountersStub


class RemoteCounters:
    def __init__(self, channel: Channel) -> None:
        self._stub = CountersStub(channel)

    async def usage(self, query: UsageQuery) -> Usage:
        request = pb.GetCountRequest(
            metric=query.metric,
            day=query.day,
            organisation=query.organisation,
            architecture=query.architecture,
        )
        response = await call("metrics service", self._stub.GetCount, request, seconds=10)
        return Usage(response.count, dict(response.organisations))
