"""What the builder measures of builds: how long they wait, what they do now, and how they end."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from prometheus_client import Counter, Gauge

from swell.jobs.messages import BuildJob, IndexJob, MirrorJob
from swell.observe.instruments import LONG, Durations, measured
from swell.observe.spans import Span, span
from swell.store.records import BuildResult

WAITS = Durations("swell_build_wait_seconds", "From the request to the first attempt of a build.", ("kind",), LONG)
BUILDS = Durations("swell_build_seconds", "Attempts of builds that ended.", ("kind", "outcome"), LONG)
PHASES = Durations("swell_build_phase_seconds", "Phases of builds.", ("kind", "phase", "outcome"), LONG)
RUNNING = Gauge("swell_builds_running", "Builds that this builder runs, by phase.", ["kind", "phase"])
SIGNINGS = Counter("swell_signings", "Attempts to sign an image: `signed`, `retrying` or `given-up`.", ["outcome"])

_KINDS = {BuildJob: "build", IndexJob: "index", MirrorJob: "mirror"}

Job = BuildJob | IndexJob | MirrorJob


@contextmanager
def phase(job: Job, name: str) -> Iterator[Span | None]:
    """Measure one phase of *job*: `download` its files, `run` the engine, or `record` the result."""
    kind = _KINDS[type(job)]
    with (
        span(f"{name} {kind}") as recorded,
        RUNNING.labels(kind, name).track_inprogress(),
        measured(PHASES, kind, name, unless_set="failed") as outcome,
    ):
        if recorded:
            recorded.attributes["swell.build_id"] = job.id
        yield recorded
        outcome.value = "done"


def begun(job: Job, created: datetime, now: datetime) -> None:
    """Record how long *job* has waited since its request was *created*."""
    WAITS.observe(max((now - created).total_seconds(), 0.0), _KINDS[type(job)])


def ended(job: Job, result: BuildResult) -> None:
    """Record the end of *job*: the outcome is `succeeded` or the reason of the failure."""
    outcome = "succeeded" if result.succeeded else result.reason or "failed"
    BUILDS.observe(max(result.duration.total_seconds(), 0.0), _KINDS[type(job)], outcome)
