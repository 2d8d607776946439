"""What the builder is told by its environment, each field as SWELL_<FIELD>."""

import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from swell.registry.settings import RegistrySettings

BuildPlatform = Annotated[str, Meta(pattern=r"^linux/(amd64|arm64|arm)$")]


class Isolation(StrEnum):
    """What stands between a build's steps and this machine."""

    OCI = "oci"
    """A container of its own: processes, network and limits."""
    CHROOT = "chroot"
    """Files alone: steps see this machine's processes and network. Only where containers cannot run."""


class EngineChoice(StrEnum):
    """What builds container files."""

    AUTO = "auto"
    """BuildKit if its programs are there, else buildah if its release has no known escapes."""
    BUILDKIT = "buildkit"
    BUILDAH = "buildah"


class EngineSettings(RegistrySettings, frozen=True, kw_only=True):
    """What the buildah engine must know; sizes are bytes."""

    workspace: Path
    isolation: Isolation = Isolation.OCI
    build_platforms: tuple[BuildPlatform, ...] = ()
    """What steps are run for (`linux/amd64`): else whatever this machine runs, by emulation, too, and in a cluster
    whatever is asked for."""
    build_timeout: timedelta = timedelta(minutes=15)
    build_memory: int = 4 << 30
    build_pids: int = 4096
    build_disk: int = 64 << 30
    context_limit: int = 2 << 30
    sif_limit: int = 20 << 30
    """What the files of an image may have together, before they are packed into a SIF file."""
    pull_auth_file: Path | None = None
    push_auth_file: Path | None = None
    insecure_registries: tuple[str, ...] = ()
    allowed_hosts: frozenset[str] = frozenset()
    """Registries, channels and the like that may be connected to although their address is private (`host` or
    `host:port`). Steps reach none of them on this machine's loopback, and the engine none but the registries."""
    proxy_for_steps: bool = False
    """Whether steps are told `http_proxy` and its like, with the password in them; else only the engine asks them."""
    denied_networks: tuple[str, ...] = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
    """IPv4 networks that builds do not reach: by default, where clouds give credentials to machines; most do so at
    link-local addresses, Alibaba's, Azure's and Oracle's at these."""
    base_cache_age: timedelta = timedelta(minutes=10)
    """How long a base image counts as fetched; past that, the next build that names it asks for newer layers."""
    base_cache_free: int = 5 << 30
    """Base images are forgotten when the workspace's disk has less than this left."""
    engine: EngineChoice = EngineChoice.AUTO
    """What builds container files on the builder's machine."""
    buildkit_daemon_age: timedelta = timedelta(hours=1)
    """How long a BuildKit daemon is used for builds, and with it the layers of base images and steps that it has."""
    buildkit_idle_daemons: int = os.cpu_count() or 1
    """How many BuildKit daemons may wait for another build."""
    buildkit_cache: int = 20 << 30
    """A BuildKit daemon that has come to so many bytes of disk is not used again."""
    first_user_id: int = 524288
    """Where the 65536 user and group ids of the steps begin on this machine: root in a step is this id outside."""


class CondaSettings(EngineSettings, frozen=True, kw_only=True):
    """What the conda-direct engine must know beside that; sizes are bytes."""

    conda_channels_url: str = ""
    """Below this address are the channels that are named rather than given by one; else where rattler finds them."""
    conda_local_channels: Path | None = None
    """A folder below which `file://` channels may be read; without it none are."""
    conda_glibc: str = "2.28"
    """The oldest glibc that base images are taken to have; packages that need a newer one are not chosen."""
    conda_repodata_age: timedelta = timedelta(minutes=10)
    conda_repodata_cache: int = 4 << 30
    conda_package_cache: int = 20 << 30
    conda_layer_cache: int = 20 << 30
    conda_package_limit: int = 8 << 30
    """How large one package may be, packed and unpacked."""
    conda_image_limit: int = 32 << 30
    """How large the archives of all packages of one image may be together."""
    conda_own_layers: int = 40
    """How many of an image's largest packages get a layer of their own; changing it changes the digests."""
    conda_own_layer_size: int = 1 << 20
    """From which size of its archive on a package is worth a layer of its own; changing it changes the digests."""
    solve_timeout: timedelta = timedelta(seconds=45)


class KubernetesSettings(CondaSettings, frozen=True, kw_only=True):
    """What the kubernetes engine must know besides: a build is a Job in a cluster, its image `kubernetes_image`.

    The cluster is that of `kubernetes_config_file` (a kubeconfig), else the one that the builder itself runs in. Pods
    run on machines of their platform; `kubernetes_node_selector` (`label=value`) narrows that down. A pod that has not
    begun within `kubernetes_patience` is given up.
    """

    kubernetes_image: str = ""
    kubernetes_config_file: Path | None = None
    kubernetes_namespace: str = "swell"
    kubernetes_service_account: str = "default"
    kubernetes_node_selector: tuple[str, ...] = ()
    kubernetes_cpu: str = ""
    kubernetes_privileged: bool = True
    kubernetes_patience: timedelta = timedelta(minutes=5)


class Where(StrEnum):
    """Where container files are built."""

    HERE = "here"
    """By buildah, on the builder's own machine."""
    KUBERNETES = "kubernetes"
    """By buildah in a pod of its own, a Job for each build."""


class Settings(KubernetesSettings, frozen=True, kw_only=True):
    """`job_lease` is how long a job stays with a builder that gives no sign of life; `log_limit` is in bytes."""

    redis_url: str
    nats_url: str
    s3_endpoint: str
    s3_access_key: str
    s3_secret_key: str
    listen: str = "127.0.0.1:9102"
    build_concurrency: int = os.cpu_count() or 1
    job_lease: timedelta = timedelta(seconds=30)
    record_ttl: timedelta = timedelta(days=90)
    index_patience: timedelta = timedelta(hours=6)
    """How long an image of several platforms waits for the builds of these, from its submission."""
    log_limit: int = 64 << 20
    build_where: Where = Where.HERE
    log_level: str = "INFO"
