"""Settings of the builder; each field is read from the environment variable SWELL_<FIELD>."""

import os
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from swell.concurrency.drain import DRAIN
from swell.jobs.settings import NatsSettings
from swell.log import Format
from swell.registry.settings import RegistrySettings
from swell.rpc.settings import ON_LOOPBACK, RpcSettings
from swell.store.connections.settings import RedisSettings, S3Settings

BuildPlatform = Annotated[str, Meta(pattern=r"^linux/(amd64|arm64|arm)$")]
BuildSecret = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}=/.+")]


class Isolation(StrEnum):
    """How the steps of a build are isolated from this machine, in addition to the sandbox of the engine."""

    OCI = "oci"
    """A container: its own processes, network and limits."""
    CHROOT = "chroot"
    """Only a file system: steps share processes and network with the engine. For machines without containers."""


class EngineChoice(StrEnum):
    """The engine that builds container files."""

    AUTO = "auto"
    """BuildKit if its programs are installed, otherwise buildah if its release has no known escapes."""
    BUILDKIT = "buildkit"
    BUILDAH = "buildah"


class BuildkitClients(StrEnum):
    """Which builds the daemon at `buildkit_address` runs."""

    PUBLIC = "public"
    """Those that every client may repeat: without secrets, and with base images that every client may read."""
    ALL = "all"
    """Every build: for servers whose clients may all read the same images."""


class EngineSettings(RegistrySettings, frozen=True, kw_only=True):
    """Settings of the engines for container files; sizes are bytes."""

    workspace: Path
    isolation: Isolation = Isolation.OCI
    build_platforms: tuple[BuildPlatform, ...] = ()
    """Platforms whose steps are run (`linux/amd64`). By default all that this machine runs, also by emulation; in a
    cluster, all."""
    build_timeout: timedelta = timedelta(minutes=15)
    build_memory: int = 4 << 30
    build_pids: int = 4096
    build_disk: int = 64 << 30
    context_limit: int = 2 << 30
    sif_limit: int = 20 << 30
    """The most bytes of all files of an image that is converted into a SIF file."""
    pull_auth_file: Path | None = None
    push_auth_file: Path | None = None
    build_secrets: tuple[BuildSecret, ...] = ()
    """The files of secrets (`name=path`), which builds use if the API key of their request names them."""
    insecure_registries: tuple[str, ...] = ()
    allowed_hosts: frozenset[str] = frozenset()
    """Hosts with private addresses that may be connected to, such as registries and channels (`host` or `host:port`).
    On this machine's loopback, steps reach none of them, and the engine only the registries."""
    proxy_for_steps: bool = False
    """Whether steps get `http_proxy` and similar variables, with the password; otherwise only the engine gets them."""
    denied_networks: tuple[str, ...] = ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.192/32")
    """IPv4 networks that builds cannot reach. By default the addresses where clouds serve credentials of machines:
    link-local ones, and those of Alibaba, Azure and Oracle."""
    base_cache_age: timedelta = timedelta(minutes=10)
    """How long a pulled base image is current; then the next build pulls it again."""
    base_cache_free: int = 5 << 30
    """Base images are removed when the disk of the workspace has less free space."""
    engine: EngineChoice = EngineChoice.AUTO
    """The engine for container files, on this machine or in the image of pods."""
    buildkit_address: str = ""
    """The operator's BuildKit daemon (`unix:///path` or `tcp://host:port`); by default the builder starts its own."""
    buildkit_tls: Path | None = None
    """The directory with `ca.pem`, `cert.pem` and `key.pem` for that daemon."""
    buildkit_clients: BuildkitClients = BuildkitClients.PUBLIC
    buildkit_daemon_age: timedelta = timedelta(hours=1)
    """How long a BuildKit daemon is used, with its cache of base images and steps."""
    buildkit_idle_daemons: int = os.cpu_count() or 1
    """The most idle BuildKit daemons."""
    buildkit_cache: int = 20 << 30
    """A BuildKit daemon that uses more bytes of disk is not used again."""
    first_user_id: int = 524288
    """The first of the 65536 user and group ids of steps on this machine: root in a step has this id outside."""


class CondaSettings(EngineSettings, frozen=True, kw_only=True):
    """Settings of the conda engine; sizes are bytes."""

    conda_channels_url: str = ""
    """The URL of the parent directory of named channels; by default that of rattler."""
    conda_catalogue_channels: tuple[str, ...] = ("conda-forge", "bioconda")
    """The channels whose packages the page of the gateway lists, by priority."""
    conda_large_channels: tuple[str, ...] = (
        "https://conda.anaconda.org",
        "https://repo.anaconda.com",
        "https://prefix.dev",
        "https://repo.prefix.dev",
    )
    """The URLs below which lists of packages may be large, in addition to `conda_channels_url`."""
    conda_local_channels: Path | None = None
    """The directory below which `file://` channels may be read; by default none."""
    conda_glibc: str = "2.28"
    """The assumed glibc version of base images; packages that need a newer one are not selected."""
    conda_repodata_age: timedelta = timedelta(minutes=10)
    conda_repodata_cache: int = 4 << 30
    conda_package_cache: int = 20 << 30
    conda_layer_cache: int = 20 << 30
    conda_package_limit: int = 8 << 30
    """The largest size of a package, packed and unpacked."""
    conda_image_limit: int = 32 << 30
    """The largest total size of the package archives of an image."""
    conda_own_layers: int = 40
    """The number of largest packages of an image with their own layers; a change changes the digests."""
    conda_own_layer_size: int = 1 << 20
    """The smallest archive of a package with its own layer; a change changes the digests."""
    solve_timeout: timedelta = timedelta(seconds=45)


class KubernetesSettings(CondaSettings, frozen=True, kw_only=True):
    """Settings of the kubernetes engine: a build is a Job with the image `kubernetes_image`.

    The cluster is that of `kubernetes_config_file` (a kubeconfig), by default the one that the builder runs in. Pods
    run on nodes of their platform with the labels `kubernetes_node_selector` (`label=value`). A build fails if its pod
    has not started within `kubernetes_patience`.
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
    """On this machine."""
    KUBERNETES = "kubernetes"
    """In a pod of its own; each build is a Job."""


class Sign(StrEnum):
    """How the images of builds are signed."""

    KEY = "key"
    """With the key in `signing_key_file`; without one, nothing is signed."""
    KEYLESS = "keyless"
    """With certificates of Fulcio; see `SigningSettings`."""
    OFF = "off"
    """Nothing is signed."""


class SigningSettings(KubernetesSettings, frozen=True, kw_only=True):
    """Settings of signatures.

    `keyless_trusted_root_file` and `keyless_signing_config_file` are files of sigstore, as `cosign trusted-root create`
    and `cosign signing-config create` write them: whom to trust, and the URLs of Fulcio, Rekor and timestamp authority.
    `keyless_token_file` has the identity, a JSON Web Token for `keyless_audience`. It is read for each image.
    """

    sign: Sign = Sign.KEY
    signing_key_file: Path | None = None
    """A private key (PEM, ECDSA P-256) that signs every image that is built; without it, nothing is signed."""
    trusted_keys_file: Path | None = None
    """Public keys (PEM) of former signing keys, whose signatures stay valid."""
    keyless_trusted_root_file: Path | None = None
    keyless_signing_config_file: Path | None = None
    keyless_token_file: Path | None = None
    keyless_audience: str = "sigstore"


class Settings(SigningSettings, frozen=True, kw_only=True):
    """`job_lease` is how long a builder keeps a job without a heartbeat; `log_limit` is in bytes."""

    redis: RedisSettings
    nats: NatsSettings
    s3: S3Settings
    listen: str = "127.0.0.1:9102"
    build_concurrency: int = os.cpu_count() or 1
    job_lease: timedelta = timedelta(seconds=30)
    record_ttl: timedelta = timedelta(days=90)
    index_patience: timedelta = timedelta(hours=6)
    """How long an image of several platforms waits for their builds, from its submission."""
    log_limit: int = 64 << 20
    mirror_timeout: timedelta = timedelta(hours=2)
    """How long a mirror may take, for all of its images."""
    mirror_limit: int = 200 << 30
    """The largest image that is mirrored, with all platforms and referrers."""
    mirror_concurrency: int = 2
    """The most mirrors at once; each sends four blobs at once."""
    build_where: Where = Where.HERE
    drain: timedelta = DRAIN
    rpc: RpcSettings = ON_LOOPBACK
    traces_url: str = ""
    operator_listen: str = "127.0.0.1:9192"
    log_level: str = "INFO"
    log_format: Format = Format.JSON
