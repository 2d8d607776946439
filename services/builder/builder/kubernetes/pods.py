"""Reading pods: whether one has begun, what it waits for, how it ended.

Source: Kubernetes API reference, PodStatus and ContainerState.
"""

from collections.abc import Iterable
from datetime import datetime

from lightkube.models.batch_v1 import Job
from lightkube.models.core_v1 import ContainerState, ContainerStateTerminated, Pod, PodStatus

from builder.domain.failure import BuildFailure
from builder.domain.remote_build import parse_result
from swell.oci.digest import Digest
from swell.store.records import Reason

_NEVER = frozenset({"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"})
_ENDED = frozenset({"Succeeded", "Failed"})


def started(job: Job) -> datetime | None:
    """When *job* was started, or made if its start is unknown."""
    return (job.status and job.status.startTime) or (job.metadata and job.metadata.creationTimestamp) or None


def finished(pods: Iterable[Pod]) -> datetime | None:
    """When the last of the *pods* of a Job ended; None if one has not ended, was taken away, or its end is unknown."""
    ends = [None if is_taken_away(pod) else _state(pod).terminated for pod in pods]
    times = [end.finishedAt if end else None for end in ends]
    return None if None in times else max((time for time in times if time), default=None)


def name_of(pod: Pod) -> str:
    return (pod.metadata and pod.metadata.name) or ""


def has_ended(pod: Pod) -> bool:
    return _status(pod).phase in _ENDED


def has_begun(pod: Pod) -> bool:
    """Whether its container runs, or has run.

    Raises:
        BuildFailure: it never will.
    """
    waiting = _state(pod).waiting
    if waiting and waiting.reason in _NEVER:
        raise BuildFailure(Reason.ENGINE, f"The cluster cannot begin the build: {waiting_for(pod)}.")
    return has_ended(pod) or _state(pod).running is not None or _state(pod).terminated is not None


def is_taken_away(pod: Pod) -> bool:
    """Whether the cluster ends it early for reasons of its own, as when it empties a machine; there will be another."""
    conditions = _status(pod).conditions or ()
    disrupted = any(each.type == "DisruptionTarget" and each.status == "True" for each in conditions)
    return disrupted and parse_result(_last_words(pod)) is None


def check(job: Job | None) -> None:
    """See that the Job is there and may yet have a pod.

    Raises:
        BuildFailure: it has none any more.
    """
    if job is None:
        raise BuildFailure(Reason.ENGINE, "Somebody has removed the Job of the build from the cluster.")
    for each in (job.status and job.status.conditions) or ():
        if each.type == "Failed" and each.status == "True":
            why = f"{each.reason}: {each.message}"
            reason = Reason.TIMED_OUT if each.reason == "DeadlineExceeded" else Reason.ENGINE
            raise BuildFailure(reason, f"The cluster has ended the build: {why}.")


def waiting_for(pod: Pod) -> str:
    """Why it has not begun, in the cluster's words."""
    if waiting := _state(pod).waiting:
        return f"{waiting.reason}: {waiting.message}" if waiting.message else str(waiting.reason)
    blocked = [each for each in _status(pod).conditions or () if each.status == "False" and each.message]
    return str(blocked[0].message) if blocked else f"its pod is {_status(pod).phase}"


def result(pod: Pod) -> Digest:
    """The digest of what the build in *pod*, which has ended, has pushed.

    Raises:
        BuildFailure: it has pushed nothing; says why, as far as the cluster knows.
    """
    if parsed := parse_result(_last_words(pod)):
        return parsed.result()
    raise _failure(_status(pod), _state(pod).terminated or ContainerStateTerminated(exitCode=-1))


def _failure(status: PodStatus, terminated: ContainerStateTerminated) -> BuildFailure:
    told = status.message or terminated.message or terminated.reason or status.reason or ""
    if terminated.reason == "OOMKilled":
        return BuildFailure(Reason.MEMORY, "The build used more memory than its pod may.", terminated.exitCode)
    if status.reason == "DeadlineExceeded":
        return BuildFailure(Reason.TIMED_OUT, "The build took longer than the cluster allows.", terminated.exitCode)
    if status.reason == "Evicted" and "ephemeral" in told:
        return BuildFailure(Reason.DISK, f"The build used more disk than its pod may: {told[:300]}.")
    message = f"The cluster ended the build with exit status {terminated.exitCode}: {told[:300]}."
    return BuildFailure(Reason.ENGINE, message, terminated.exitCode)


def _last_words(pod: Pod) -> str:
    terminated = _state(pod).terminated
    return (terminated and terminated.message) or ""


def _status(pod: Pod) -> PodStatus:
    return pod.status or PodStatus()


def _state(pod: Pod) -> ContainerState:
    containers = _status(pod).containerStatuses or ()
    return next((each.state for each in containers if each.state), ContainerState())
