"""`grpc.health.v1.Health` of a service, as platforms ask for it.

Source: gRPC health checking protocol, https://grpc.io/docs/guides/health-checking/
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from swell.concurrency.drain import Drain
from swell.observe.health import Health, Report

READINESS, LIVENESS = "readiness", "liveness"
REPORT = "swell-health"
"""The trailer with what works and what does not: a `Report` in JSON."""
WATCH_SECONDS = 5.0
WATCHERS = 100
_LONGEST = 4000  # characters of a report; gRPC drops a call with more than 8 KiB of trailers

_Status = health_pb2.HealthCheckResponse
Context = grpc.aio.ServicerContext[Any, Any]


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers for the names `readiness`, which is also the empty name, and `liveness`, which depends on no backend."""

    def __init__(self, health: Health, drain: Drain) -> None:
        self._health = health
        self._drain = drain
        self._watchers = 0

    async def Check(  # noqa: N802  (the name in the proto file)
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Return the status now, within 3 s."""
        if request.service == LIVENESS:
            return _Status(status=_Status.SERVING)
        if request.service not in {"", READINESS}:
            await context.abort(grpc.StatusCode.NOT_FOUND, "health is known for readiness and liveness")
        report = await self._health.report()
        context.set_trailing_metadata(((REPORT, report.encoded()[:_LONGEST]),))
        return _Status(status=_status(report))

    async def Watch(  # noqa: N802  (the name in the proto file)
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Send the status, and each change of it, until the process stops."""
        if self._watchers >= WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{WATCHERS} clients watch already")
        self._watchers += 1
        try:
            sent = None
            while True:
                is_last = self._drain.is_started
                report = await self._health.report()
                status = _Status.SERVING if request.service == LIVENESS else _status(report)
                if status != sent:
                    yield _Status(status=status)
                    sent = status
                if is_last:
                    return
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._drain.started.wait(), WATCH_SECONDS)
        finally:
            self._watchers -= 1


def _status(report: Report) -> Any:
    return _Status.SERVING if report.is_ready else _Status.NOT_SERVING
