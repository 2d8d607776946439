"""Usage, asked of the metrics service over gRPC."""

from grpc.aio import Channel

from gateway.usage import RequestJob, Usage
from swell.rpc.channel import call
from swell.rpc.v1 import counters_pb2 as pb
from swell.rpc.v1.counters_pb2_grpc import CountersStub


class RemoteCounters:
    def __init__(self, channel: Channel) -> None:
        self._stub = CountersStub(channel)

    async def usage(self, question: RequestJob) -> Usage:
        request = pb.GetCountRequest(
            metric=question.metric,
            day=question.day,
            organisation=question.organisation,
            architecture=question.architecture,
        )
        answer = await call("metrics service", self._stub.GetCount, request, seconds=10)
        return Usage(answer.count, dict(answer.organisations))
