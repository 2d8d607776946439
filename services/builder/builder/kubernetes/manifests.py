"""The Kubernetes objects of a build: a Job, and a Secret with the remote build spec and auth files.

Source: Kubernetes API reference, Job,
https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/
Source: Kubernetes API reference, Secret,
https://kubernetes.io/docs/reference/kubernetes-api/config-and-storage-resources/secret-v1/
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
    AppArmorProfile,
    Capabilities,
    Container,
    EmptyDirVolumeSource,
    EnvVar,
    EnvVarSource,
    PodSpec,
    PodTemplateSpec,
    ResourceRequirements,
    SeccompProfile,
    SecretKeySelector,
    SecretVolumeSource,
    SecurityContext,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Secret

from builder.engine import Recipe
from builder.settings import KubernetesSettings

CONTAINER = "build"
GRACE_SECONDS = 60  # for a pod to start and to stop, beyond the longest build
TTL_SECONDS = 600  # of a finished Job that no builder has removed

_WORKSPACE, _FILES, _CA_FILE = "/workspace", "/swell", "ca.pem"
_IGNORE_DISRUPTION = PodFailurePolicyRule(
    action="Ignore", onPodConditions=[PodFailurePolicyOnPodConditionsPattern(status="True", type="DisruptionTarget")]
)
"""A pod that the cluster disrupts does not count as a failure: the Job creates another one."""
_CAPABILITIES = [
    *("CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "MKNOD"),
    *("SETFCAP", "SETGID", "SETUID", "SYS_ADMIN", "SYS_CHROOT"),
]
"""What the sandbox of the engine needs, as tried in Docker containers."""
_OWN_MEMORY = 512 << 20  # bytes for the engine, in addition to the limit of the build


def job_name(build_id: str) -> str:
    """Return the name of the Job of *build_id* and of its Secret."""
    return build_id.replace("_", "-")


def secret_file(name: str) -> str:
    """Return the file of the build secret *name* in the Secret."""
    return f"build-secret.{name}"


def job(recipe: Recipe, settings: KubernetesSettings) -> Job:
    """Return a Job with one pod, which is not restarted, on a node of the platform of *recipe*."""
    build_id, platform = recipe.build_id, recipe.platform
    labels = {"app.kubernetes.io/name": "swell-build", "swell/build-id": build_id}
    deadline = settings.build_timeout + settings.kubernetes_patience
    pod = PodSpec(
        containers=[_container(recipe, settings)],
        restartPolicy="Never",
        automountServiceAccountToken=False,
        enableServiceLinks=False,
        serviceAccountName=settings.kubernetes_service_account,
        nodeSelector=_node_selector(platform) | dict(_pairs(settings.kubernetes_node_selector)),
        terminationGracePeriodSeconds=10,
        volumes=[
            Volume("workspace", emptyDir=EmptyDirVolumeSource(sizeLimit=str(2 * settings.build_disk))),
            Volume("files", secret=SecretVolumeSource(secretName=job_name(build_id), defaultMode=0o400)),
        ],
    )
    return Job(
        metadata=ObjectMeta(name=job_name(build_id), namespace=settings.kubernetes_namespace, labels=labels),
        spec=JobSpec(
            template=PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=pod),
            backoffLimit=0,
            podFailurePolicy=PodFailurePolicy(rules=[_IGNORE_DISRUPTION]),
            activeDeadlineSeconds=int(deadline.total_seconds()) + GRACE_SECONDS,
            ttlSecondsAfterFinished=TTL_SECONDS,
        ),
    )


def secret(owner: Job, files: Mapping[str, bytes]) -> Secret:
    """Return a Secret with the *files* of the pod of *owner*; it is removed with its owner."""
    metadata = owner.metadata or ObjectMeta()
    reference = OwnerReference(apiVersion="batch/v1", kind="Job", name=metadata.name or "", uid=metadata.uid or "")
    return Secret(
        metadata=ObjectMeta(name=metadata.name, namespace=metadata.namespace, ownerReferences=[reference]),
        data={name: base64.b64encode(content).decode() for name, content in files.items()},
        immutable=True,
        type="Opaque",
    )


def proxy_files(settings: KubernetesSettings) -> dict[str, bytes]:
    """Return the proxies, whose URLs may have a password, and the certificates, as files of the Secret.

    Raises:
        OSError: the certificates cannot be read.
    """
    certificates = {_CA_FILE: settings.ca_file.read_bytes()} if settings.ca_file else {}
    return certificates | {name: proxy.encode() for name, proxy in _proxies(settings).items()}


def _container(recipe: Recipe, settings: KubernetesSettings) -> Container:
    name = job_name(recipe.build_id)
    limits = {"memory": str(settings.build_memory + _OWN_MEMORY)}
    limits |= {"cpu": settings.kubernetes_cpu} if settings.kubernetes_cpu else {}
    return Container(
        name=CONTAINER,
        image=settings.kubernetes_image,
        command=["python", "-m", "builder.once"],
        env=[
            *(EnvVar(key, value) for key, value in _environment(settings).items()),
            *_build_secrets(recipe),
            *_secret_environment(name, settings),
        ],
        resources=ResourceRequirements(limits=limits, requests=limits),
        securityContext=_security_context(settings),
        terminationMessagePolicy="File",
        volumeMounts=[VolumeMount(_WORKSPACE, "workspace"), VolumeMount(_FILES, "files", readOnly=True)],
    )


def _security_context(settings: KubernetesSettings) -> SecurityContext:
    """Return the rights of the pod: it makes namespaces and mounts, in which an unprivileged user builds.

    Without `privileged`, the default profiles for seccomp and AppArmor would refuse these calls.
    Source: BuildKit, "Rootless mode", https://github.com/moby/buildkit/blob/v0.34.2/docs/rootless.md#docker
    """
    if settings.kubernetes_privileged:
        return SecurityContext(privileged=True)
    return SecurityContext(
        privileged=False,
        capabilities=Capabilities(add=_CAPABILITIES, drop=["ALL"]),
        seccompProfile=SeccompProfile("Unconfined"),
        appArmorProfile=AppArmorProfile("Unconfined"),
    )


def _build_secrets(recipe: Recipe) -> list[EnvVar]:
    """Return the setting with the files of the build's secrets; none without secrets."""
    names = dict.fromkeys(recipe.options.build_secrets.values())
    entries = ",".join(f"{name}={_FILES}/{secret_file(name)}" for name in names)
    return [EnvVar("SWELL_BUILD_SECRETS", entries)] if entries else []


def _secret_environment(secret: str, settings: KubernetesSettings) -> list[EnvVar]:
    """Return the environment variables that come from the Secret *secret*.

    The Secret is created after its Job. The pod waits for it, because it is also a volume.
    """
    return [
        EnvVar(name, valueFrom=EnvVarSource(secretKeyRef=SecretKeySelector(name, secret)))
        for name in _proxies(settings)
    ]


def _proxies(settings: KubernetesSettings) -> dict[str, str]:
    proxies = {"SWELL_HTTP_PROXY": settings.http_proxy, "SWELL_HTTPS_PROXY": settings.https_proxy}
    return {name: proxy for name, proxy in proxies.items() if proxy}


def _environment(settings: KubernetesSettings) -> dict[str, str]:
    """Return the settings of the engine in the pod, which are those of this builder."""
    return {
        "SWELL_ALLOWED_HOSTS": ",".join(sorted(settings.allowed_hosts)),
        "SWELL_ANSWER_TIMEOUT": _duration(settings.answer_timeout),
        "SWELL_BUILD_DISK": str(settings.build_disk),
        "SWELL_BUILD_MEMORY": str(settings.build_memory),
        "SWELL_BUILD_PIDS": str(settings.build_pids),
        "SWELL_BUILD_REPOSITORY": settings.build_repository or "",
        "SWELL_BUILD_TIMEOUT": _duration(settings.build_timeout),
        "SWELL_CACHE_REPOSITORY": settings.cache_repository or "",
        "SWELL_CA_FILE": f"{_FILES}/{_CA_FILE}" if settings.ca_file else "",
        "SWELL_CONNECT_TIMEOUT": _duration(settings.connect_timeout),
        "SWELL_CONTEXT_LIMIT": str(settings.context_limit),
        "SWELL_DENIED_NETWORKS": ",".join(settings.denied_networks),
        "SWELL_BUILDKIT_IDLE_DAEMONS": "0",
        "SWELL_ENGINE": settings.engine,
        "SWELL_ERRAND": f"{_FILES}/errand.json",
        "SWELL_IDLE_TIMEOUT": _duration(settings.idle_timeout),
        "SWELL_INSECURE_REGISTRIES": ",".join(settings.insecure_registries),
        "SWELL_ISOLATION": settings.isolation,
        "SWELL_NO_PROXY": ",".join(settings.no_proxy),
        "SWELL_PROXY_FOR_STEPS": str(settings.proxy_for_steps).lower(),
        "SWELL_PUBLIC_REPOSITORY": settings.public_repository or "",
        "SWELL_PULL_AUTH_FILE": f"{_FILES}/pull.json",
        "SWELL_PUSH_AUTH_FILE": f"{_FILES}/push.json",
        "SWELL_SIF_LIMIT": str(settings.sif_limit),
        "SWELL_WORKSPACE": _WORKSPACE,
    }


def _duration(value: timedelta) -> str:
    return f"PT{value.total_seconds():f}S"


def _node_selector(platform: str) -> dict[str, str]:
    os, architecture, *_ = platform.split("/")
    return {"kubernetes.io/os": os, "kubernetes.io/arch": architecture}


def _pairs(entries: tuple[str, ...]) -> list[tuple[str, str]]:
    return [(label, value) for label, _, value in (entry.partition("=") for entry in entries)]
