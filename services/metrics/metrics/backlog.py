"""Gauges of what waits in the queues. Every replica publishes the same values: queries use their maximum."""

from nats.js import JetStreamContext
from prometheus_client import Gauge

from swell.jobs.consumers import sizes
from swell.store.backlog import RedisBacklog

BUILDS = Gauge("swell_builds", "Builds that have not ended, by state.", ["state"])
OLDEST = Gauge("swell_oldest_seconds", "Age of the oldest build or scan that waits, by state.", ["state"])
SCANS = Gauge("swell_scans_open", "Scans that have not ended.")
WORKERS = Gauge("swell_worker_programs", "Different programs of running builders and scanners.", ["kind"])
MESSAGES = Gauge("swell_stream_messages", "Messages in a stream of NATS.", ["stream"])
BYTES = Gauge("swell_stream_bytes", "Bytes in a stream of NATS.", ["stream"])
PENDING = Gauge("swell_consumer_pending", "Messages that a consumer has not received yet.", ["consumer"])
HANDLED = Gauge("swell_consumer_unfinished", "Messages that a consumer has received and not finished.", ["consumer"])


async def publish(backlog: RedisBacklog, stream: JetStreamContext) -> None:
    """Read the state of all queues once; raises `Unavailable` when Redis or NATS does not answer."""
    state = await backlog.read()
    for name in ("waiting", "ready", "running", "unpublished"):
        BUILDS.labels(name).set(getattr(state, name))
    OLDEST.labels("waiting").set(state.oldest_waiting)
    OLDEST.labels("ready").set(state.oldest_ready)
    OLDEST.labels("scan").set(state.oldest_scan)
    SCANS.set(state.scans)
    WORKERS.labels("builder").set(state.engines)
    WORKERS.labels("scanner").set(state.scanners)
    streams, consumers = await sizes(stream)
    for each in streams:
        MESSAGES.labels(each.stream).set(each.messages)
        BYTES.labels(each.stream).set(each.bytes)
    for lag in consumers:
        PENDING.labels(lag.consumer).set(lag.pending)
        HANDLED.labels(lag.consumer).set(lag.handled)
