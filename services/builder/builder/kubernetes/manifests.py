"""The Kubernetes objects of a build: a Job, and the Secret with what it is told and may show to registries.

Source: Kubernetes API reference, batch/v1 Job and core/v1 Secret.
"""

import base64
from collections.abc import Mapping
from datetime import timedelta

from lightkube.models.batch_v1 import (
    JobSpec,
    PodFailurePolicy,
    PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
)
from lightkube.models.core_v1 import (
    Container,
    EmptyDirVolumeSource,
    EnvVar,
    EnvVarSource,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    SecretKeySelector,
    SecretVolumeSource,
    SecurityContext,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Secret

from builder.settings import KubernetesSettings

CONTAINER = "build"
GRACE_SECONDS = 60  # for a pod to start and to stop, beyond the longest build
KEPT_SECONDS = 600  # how long a cluster keeps a Job that nobody removed

_WORKSPACE, _TOLD, _CA_FILE = "/workspace", "/swell", "ca.pem"
_REPLACED = PodFailurePolicyRule(
    action="Ignore", onPodConditions=[PodFailurePolicyOnPodConditionsPattern(status="True", type="DisruptionTarget")]
)
"""A pod that the cluster takes away is no failure of the build: there is another one."""
_OWN_MEMORY = 512 << 20  # bytes for the engine itself, beside the build that it holds to its own limit


def job_name(build_id: str) -> str:
    """The name of the Job that builds *build_id*, and of its Secret."""
    return build_id.replace("_", "-")


def job(build_id: str, platform: str, settings: KubernetesSettings) -> Job:
    """A Job of one pod that is never begun again, on a machine for *platform*."""
    labels = {"app.kubernetes.io/name": "swell-build", "swell/build-id": build_id}
    patience = settings.build_timeout + settings.kubernetes_patience
    pod = PodSpec(
        containers=[_container(job_name(build_id), settings)],
        restartPolicy="Never",
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        serviceAccountName=settings.kubernetes_service_account,
        nodeSelector=_machine(platform) | dict(_pairs(settings.kubernetes_node_selector)),
        terminationGracePeriodSeconds=10,
        volumes=[
            Volume("workspace", emptyDir=EmptyDirVolumeSource(sizeLimit=str(2 * settings.build_disk))),
            Volume("told", secret=SecretVolumeSource(secretName=job_name(build_id), defaultMode=0o400)),
        ],
    )
    return Job(
        metadata=ObjectMeta(name=job_name(build_id), namespace=settings.kubernetes_namespace, labels=labels),
        spec=JobSpec(
            template=PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=pod),
            backoffLimit=0,
            podFailurePolicy=PodFailurePolicy(rules=[_REPLACED]),
            activeDeadlineSeconds=int(patience.total_seconds()) + GRACE_SECONDS,
            ttlSecondsAfterFinished=KEPT_SECONDS,
        ),
    )


def secret(owner: Job, files: Mapping[str, bytes]) -> Secret:
    """The *files* that the pod of *owner* finds in a folder; it goes with its owner."""
    metadata = owner.metadata or ObjectMeta()
    reference = OwnerReference(apiVersion="batch/v1", kind="Job", name=metadata.name or "", uid=metadata.uid or "")
    return Secret(
        metadata=ObjectMeta(name=metadata.name, namespace=metadata.namespace, ownerReferences=[reference]),
        data={name: base64.b64encode(content).decode() for name, content in files.items()},
        immutable=True,
        type="Opaque",
    )


def proxy_files(settings: KubernetesSettings) -> dict[str, bytes]:
    """What the Secret has so that the pod goes the way that we go: proxies, whose addresses may have a password, and
    certificates.

    Raises:
        OSError: these cannot be read.
    """
    certificates = {_CA_FILE: settings.ca_file.read_bytes()} if settings.ca_file else {}
    return certificates | {name: proxy.encode() for name, proxy in _proxies(settings).items()}


def _container(name: str, settings: KubernetesSettings) -> Container:
    limits = {"memory": str(settings.build_memory + _OWN_MEMORY)}
    limits |= {"cpu": settings.kubernetes_cpu} if settings.kubernetes_cpu else {}
    return Container(
        name=CONTAINER,
        image=settings.kubernetes_image,
        command=["python", "-m", "builder.once"],
        env=[*(EnvVar(key, value) for key, value in _told(settings).items()), *_kept(name, settings)],
        resources=ResourceRequirements(limits=limits, requests=limits),
        securityContext=SecurityContext(privileged=settings.kubernetes_privileged),
        terminationMessagePolicy="File",
        volumeMounts=[VolumeMount(_WORKSPACE, "workspace"), VolumeMount(_TOLD, "told", readOnly=True)],
    )


def _kept(secret: str, settings: KubernetesSettings) -> list[EnvVar]:
    """What the pod's engine must know that is in the Secret *secret*.

    The Secret is made after its Job. A pod waits for it, since it is one of the volumes as well.
    """
    return [
        EnvVar(name, valueFrom=EnvVarSource(secretKeyRef=SecretKeySelector(name, secret)))
        for name in _proxies(settings)
    ]


def _proxies(settings: KubernetesSettings) -> dict[str, str]:
    proxies = {"SWELL_HTTP_PROXY": settings.http_proxy, "SWELL_HTTPS_PROXY": settings.https_proxy}
    return {name: proxy for name, proxy in proxies.items() if proxy}


def _told(settings: KubernetesSettings) -> dict[str, str]:
    """What the pod's engine must know of our own settings."""
    return {
        "SWELL_ALLOWED_HOSTS": ",".join(sorted(settings.allowed_hosts)),
        "SWELL_ANSWER_TIMEOUT": _duration(settings.answer_timeout),
        "SWELL_BUILD_DISK": str(settings.build_disk),
        "SWELL_BUILD_MEMORY": str(settings.build_memory),
        "SWELL_BUILD_PIDS": str(settings.build_pids),
        "SWELL_BUILD_TIMEOUT": _duration(settings.build_timeout),
        "SWELL_CA_FILE": f"{_TOLD}/{_CA_FILE}" if settings.ca_file else "",
        "SWELL_CONNECT_TIMEOUT": _duration(settings.connect_timeout),
        "SWELL_CONTEXT_LIMIT": str(settings.context_limit),
        "SWELL_DENIED_NETWORKS": ",".join(settings.denied_networks),
        "SWELL_ERRAND": f"{_TOLD}/errand.json",
        "SWELL_IDLE_TIMEOUT": _duration(settings.idle_timeout),
        "SWELL_INSECURE_REGISTRIES": ",".join(settings.insecure_registries),
        "SWELL_ISOLATION": settings.isolation,
        "SWELL_NO_PROXY": ",".join(settings.no_proxy),
        "SWELL_PROXY_FOR_STEPS": str(settings.proxy_for_steps).lower(),
        "SWELL_PULL_AUTH_FILE": f"{_TOLD}/pull.json",
        "SWELL_PUSH_AUTH_FILE": f"{_TOLD}/push.json",
        "SWELL_SIF_LIMIT": str(settings.sif_limit),
        "SWELL_WORKSPACE": _WORKSPACE,
    }


def _duration(value: timedelta) -> str:
    return f"PT{value.total_seconds():f}S"


def _machine(platform: str) -> dict[str, str]:
    os, architecture, *_ = platform.split("/")
    return {"kubernetes.io/os": os, "kubernetes.io/arch": architecture}


def _pairs(entries: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(label, value) for label, _, value in (entry.partition("=") for entry in entries)]
