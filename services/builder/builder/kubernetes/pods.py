"""Reads the status of pods: whether one has started, what it waits for, and its result.

Source: Kubernetes API reference, PodStatus and ContainerState,
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#PodStatus
"""

from collections.abc import Iterable
from datetime import datetime

from lightkube.models.batch_v1 import Job
from lightkube.models.core_v1 import ContainerState, ContainerStateTerminated, Pod, PodStatus

from builder.domain.failure import BuildFailure
from builder.domain.remote_build import parse_result
from swell.oci.digest import Digest
from swell.provenance import Evidence
from swell.store.records import Reason

_NEVER = frozenset({"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "CreateContainerError"})
_ENDED = frozenset({"Succeeded", "Failed"})


def started(job: Job) -> datetime | None:
    """Return when *job* started, or when it was created if its start is unknown."""
    return (job.status and job.status.startTime) or (job.metadata and job.metadata.creationTimestamp) or None


def finished(pods: Iterable[Pod]) -> datetime | None:
    """Return when the last of the *pods* of a Job ended; None if one runs, was disrupted, or has no time."""
    ends = [None if is_disrupted(pod) else _state(pod).terminated for pod in pods]
    times = [end.finishedAt if end else None for end in ends]
    return None if None in times else max((time for time in times if time), default=None)


def name_of(pod: Pod) -> str:
    return (pod.metadata and pod.metadata.name) or ""


def has_ended(pod: Pod) -> bool:
    return _status(pod).phase in _ENDED


def has_started(pod: Pod) -> bool:
    """Whether its container has started.

    Raises:
        BuildFailure: it cannot start.
    """
    waiting = _state(pod).waiting
    if waiting and waiting.reason in _NEVER:
        raise BuildFailure(Reason.ENGINE, f"The cluster cannot start the build: {waiting_for(pod)}.")
    return has_ended(pod) or _state(pod).running is not None or _state(pod).terminated is not None


def is_disrupted(pod: Pod) -> bool:
    """Whether the cluster ends the pod early, for example because it drains the node; another pod replaces it."""
    conditions = _status(pod).conditions or ()
    disrupted = any(each.type == "DisruptionTarget" and each.status == "True" for each in conditions)
    return disrupted and parse_result(_termination_message(pod)) is None


def check(job: Job | None) -> None:
    """Check that the Job exists and has not failed.

    Raises:
        BuildFailure: it has been removed, or has failed.
    """
    if job is None:
        raise BuildFailure(Reason.ENGINE, "The Job of the build was removed from the cluster.")
    for each in (job.status and job.status.conditions) or ():
        if each.type == "Failed" and each.status == "True":
            why = f"{each.reason}: {each.message}"
            reason = Reason.TIMED_OUT if each.reason == "DeadlineExceeded" else Reason.ENGINE
            raise BuildFailure(reason, f"The cluster has ended the build: {why}.")


def waiting_for(pod: Pod) -> str:
    """Return why it has not started, as the cluster reports it."""
    if waiting := _state(pod).waiting:
        return f"{waiting.reason}: {waiting.message}" if waiting.message else str(waiting.reason)
    blocked = [each for each in _status(pod).conditions or () if each.status == "False" and each.message]
    return str(blocked[0].message) if blocked else f"its pod is {_status(pod).phase}"


def result(pod: Pod) -> tuple[Digest, Evidence]:
    """Return the digest of the image that the build in *pod*, which has ended, has pushed, and what it was made from.

    Raises:
        BuildFailure: the build failed, for the reason in its result or in the status of the pod.
    """
    if parsed := parse_result(_termination_message(pod)):
        return parsed.result(), parsed.evidence
    raise _failure(_status(pod), _state(pod).terminated or ContainerStateTerminated(exitCode=-1))


def _failure(status: PodStatus, terminated: ContainerStateTerminated) -> BuildFailure:
    message = status.message or terminated.message or terminated.reason or status.reason or ""
    if terminated.reason == "OOMKilled":
        return BuildFailure(Reason.MEMORY, "The build used more memory than its pod may.", terminated.exitCode)
    if status.reason == "DeadlineExceeded":
        return BuildFailure(Reason.TIMED_OUT, "The build took longer than the cluster allows.", terminated.exitCode)
    if status.reason == "Evicted" and "ephemeral" in message:
        return BuildFailure(Reason.DISK, f"The build used more disk than its pod may: {message[:300]}.")
    text = f"The cluster ended the build with exit status {terminated.exitCode}: {message[:300]}."
    return BuildFailure(Reason.ENGINE, text, terminated.exitCode)


def _termination_message(pod: Pod) -> str:
    terminated = _state(pod).terminated
    return (terminated and terminated.message) or ""


def _status(pod: Pod) -> PodStatus:
    return pod.status or PodStatus()


def _state(pod: Pod) -> ContainerState:
    containers = _status(pod).containerStatuses or ()
    return next((each.state for each in containers if each.state), ContainerState())
