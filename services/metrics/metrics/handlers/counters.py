"""The gRPC service `swell.rpc.v1.Counters`."""

from metrics.count import Counting
from metrics.domain.usage import Metric, Table
from swell.errors import BadRequest
from swell.rpc.server import answers
from swell.rpc.v1 import counters_pb2 as pb
from swell.rpc.v1.counters_pb2_grpc import CountersServicer


class CountersHandler(CountersServicer):
    """Decodes the request, reads the count, encodes the response."""

    def __init__(self, counting: Counting) -> None:
        self._counting = counting

    @answers
    async def GetCount(self, request: pb.GetCountRequest) -> pb.GetCountResponse:
        if request.metric not in set(Metric):
            raise BadRequest(f"unknown metric {request.metric!r}; the metrics are {', '.join(Metric)}")
        table = Table(Metric(request.metric), request.day or None, request.architecture or None)
        usage = await self._counting.usage(table, request.organisation)
        return pb.GetCountResponse(count=usage.count, organisations=usage.organisations)
