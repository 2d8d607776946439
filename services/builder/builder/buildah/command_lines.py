"""Command lines and configuration files of buildah in a sandbox (buildah 1.28 or later).

Source: buildah(1) and its commands, https://github.com/containers/buildah/tree/main/docs
Source: containers-storage.conf(5), https://github.com/containers/storage/blob/main/docs/containers-storage.conf.5.md
Source: containers-registries.conf(5) and containers-policy.json(5), https://github.com/containers/image/tree/main/docs
"""

import json
import re
import resource
import shutil
from collections.abc import Iterable
from pathlib import Path

from builder.buildah.compression import Compression
from builder.settings import Isolation
from swell.api.containers import BuildOptions, CompressionMode
from swell_sandbox import SCRATCH, SECRET, Mount

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_FILES_AT_ONCE = 65536

# Images are pulled from registries only: other transports (oci:, dir:, docker-archive:) read local files.
_POLICY = {"default": [{"type": "reject"}], "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}}
# Pushed images come from the store of the build.
_PUSH_POLICY = {
    "default": [{"type": "reject"}],
    "transports": {"containers-storage": {"": [{"type": "insecureAcceptAnything"}]}},
}

DOCKER_ONLY = "docker only: "
STORAGE_CONF = "storage.conf"
BLOB_CACHE = "containers/cache/blob-info-cache-v1.boltdb"
"""The blob cache below `XDG_DATA_HOME`: compressed layers of registries by verified diff_id. Without it, all layers are
compressed again."""

_ABOUT_PLATFORM = re.compile(
    rb"\[Warning\] one or more build args were not consumed: \[TARGET[A-Z]+(?: TARGET[A-Z]+)*\]"
)

_POLICY_FLAG = f"--signature-policy={SCRATCH}/policy.json"
_PUSH_POLICY_FLAG = f"--signature-policy={SCRATCH}/push-policy.json"
_AUTH_FLAG = f"--authfile={SECRET}"
_BUILDAH = ("buildah",)
_OWN_STORE = (f"--root={SCRATCH}/work/store", f"--runroot={SCRATCH}/work/run")


def configuration(insecure_registries: tuple[str, ...]) -> dict[str, str]:
    """Return the configuration files of a sandbox; loopback and *insecure_registries* (host[:port]) may use HTTP."""
    return {
        "policy.json": json.dumps(_POLICY),
        "push-policy.json": json.dumps(_PUSH_POLICY),
        "containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\n',
        STORAGE_CONF: storage_conf(()),
        "registries.conf": _registries((*_LOOPBACK, *insecure_registries)),
    }


def programs() -> dict[str, str]:
    """Return wrapper programs: buildah 1.28 cannot pass the option that keeps steps off the machine's loopback."""
    slirp4netns = shutil.which("slirp4netns") or "slirp4netns-is-missing"
    return {"slirp4netns": f'#!/bin/sh\nexec {slirp4netns} --disable-host-loopback "$@"\n'}


def environment(user_id: int) -> dict[str, str]:
    """Return the environment of all commands. Buildah behaves as if the user *user_id* ran it without root."""
    return {
        "CONTAINERS_CONF": f"{SCRATCH}/containers.conf",
        "CONTAINERS_STORAGE_CONF": f"{SCRATCH}/{STORAGE_CONF}",
        "CONTAINERS_REGISTRIES_CONF": f"{SCRATCH}/registries.conf",
        "XDG_RUNTIME_DIR": f"{SCRATCH}/work",
        "XDG_DATA_HOME": SCRATCH,
        "_CONTAINERS_USERNS_CONFIGURED": "done",
        "_CONTAINERS_ROOTLESS_UID": str(user_id),
        "_CONTAINERS_ROOTLESS_GID": str(user_id),
    }


def directories(user_id: int) -> tuple[str, ...]:
    """The directories beside `work` that buildah writes to."""
    return ("work/context", "containers/cache", f"podman-run-{user_id}", f"containers-user-{user_id}")


def store_mount(store: Path, *, writable: bool = False) -> Mount:
    """Return the mount of a store of base images."""
    return Mount(store, f"{SCRATCH}/bases/{store.name}", writable)


def storage_conf(stores: Iterable[Mount]) -> str:
    """Return the file `STORAGE_CONF`, with the read-only *stores* of base images."""
    paths = json.dumps([store.target for store in stores])
    options = f'[storage.options]\nadditionalimagestores = {paths}\n[storage.options.overlay]\nmountopt = "nodev"\n'
    return f'[storage]\ndriver = "overlay"\n{options}'


def _registries(insecure: tuple[str, ...]) -> str:
    head = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n'
    return head + "".join(f"[[registry]]\nlocation = {json.dumps(host)}\ninsecure = true\n" for host in insecure)


def build(
    platform: str,
    isolation: Isolation,
    options: BuildOptions,
    *,
    cache: str | None = None,
    reuse_steps: bool = False,
    proxies: bool = False,
) -> list[str]:
    """Build `Containerfile` with `work/context`; the image's id is then in `work/image-id`.

    `--pull-always` requests every image from its registry, which checks access. The docker format stores SHELL and
    HEALTHCHECK, which the OCI format does not have. Results of steps are read from and stored in the repository
    *cache*; *reuse_steps* continues a build that failed because of its cache. *proxies* passes them to the steps.
    """
    command = ["build", "--pull-always", "--format=docker", f"--platform={platform}", _AUTH_FLAG, _POLICY_FLAG]
    files = [f"--file={SCRATCH}/Containerfile", f"--iidfile={SCRATCH}/work/image-id", f"{SCRATCH}/work/context"]
    layers = ["--layers"] if cache or reuse_steps else []
    caching = [f"--cache-from={cache}", f"--cache-to={cache}", "--retry=1"] if cache else []
    chosen = [f"--build-arg={name}={value}" for name, value in options.build_args.items()]
    chosen += [f"--label={name}={value}" for name, value in options.labels.items()]
    chosen += [f"--target={options.target}"] if options.target else []
    command += [f"--http-proxy={str(proxies).lower()}", *layers, *caching, *chosen, *_isolation(isolation)]
    return [*_BUILDAH, *_OWN_STORE, *command, *files]


def push(image_id: str, target_image: str, compression: Compression) -> list[str]:
    """Push what was built; the manifest's digest is then in `work/digest`.

    The format is explicit: buildah would switch from the docker format if a layer is zstd.
    """
    zstd = compression.mode is CompressionMode.ZSTD
    options = [f"--compression-format={compression.mode}", f"--format={'oci' if zstd else 'v2s2'}"]
    if compression.level is not None:
        options.append(f"--compression-level={compression.level}")
    command = [
        "push",
        _AUTH_FLAG,
        _PUSH_POLICY_FLAG,
        f"--digestfile={SCRATCH}/work/digest",
        *options,
        image_id,
        f"docker://{target_image}",
    ]
    return [*_BUILDAH, *_OWN_STORE, *command]


def store(image_id: str, compression: Compression) -> list[str]:
    """Write the built image into `work/unpushed`, an OCI layout, with its layers as they would be pushed."""
    options = [f"--compression-format={compression.mode}", "--format=oci", _PUSH_POLICY_FLAG]
    return [*_BUILDAH, *_OWN_STORE, "push", *options, image_id, f"oci:{SCRATCH}/work/unpushed:image"]


def docker_only(image_id: str) -> list[str]:
    """Print a line with the instructions of an image that the OCI format cannot represent."""
    fields = {"HEALTHCHECK": "Healthcheck", "SHELL": "Shell", "ONBUILD": "OnBuild"}
    words = "".join(f"{{{{if .Docker.Config.{field}}}}}{name} {{{{end}}}}" for name, field in fields.items())
    return [*_BUILDAH, *_OWN_STORE, "inspect", "--type=image", f"--format={DOCKER_ONLY}{words}", image_id]


def triggers(image: str) -> list[str]:
    """Print the ONBUILD triggers in the config of *image*, which is in a store of the sandbox, a line for each."""
    return [
        *_BUILDAH,
        *_OWN_STORE,
        "inspect",
        "--type=image",
        "--format={{range .Docker.Config.OnBuild}}{{.}}\n{{end}}",
        image,
    ]


def is_zstd_refused(output: Iterable[bytes]) -> bool:
    """Whether a push failed because the registry has a layer as zstd, which the docker format does not allow."""
    return any(b"zstd compression is not supported for type" in line for line in output)


def is_about_platform(line: bytes) -> bool:
    """Whether *line* only warns that the build arguments that `--platform` implies are unused.

    Source: buildah, issue 4485, https://github.com/containers/buildah/issues/4485
    """
    return _ABOUT_PLATFORM.fullmatch(line) is not None


def export(image_id: str) -> list[str]:
    """Write the built image into `work/image`, an OCI layout, with its layers as plain tars."""
    options = ["--disable-compression", _PUSH_POLICY_FLAG]
    return [*_BUILDAH, *_OWN_STORE, "push", *options, image_id, f"oci:{SCRATCH}/work/image:image"]


def pull(image: str, platform: str, store: Mount) -> list[str]:
    """Fetch a base image into *store*, which must be writable."""
    command = ["pull", "--quiet", "--policy=always", "--retry=0", f"--platform={platform}", _AUTH_FLAG, _POLICY_FLAG]
    return [*_BUILDAH, f"--root={store.target}", f"--runroot={SCRATCH}/work/bases-run", *command, image]


def pull_environment(store: Mount) -> dict[str, str]:
    """Return the environment of a pull, which stores its blob cache beside the images."""
    return {"XDG_DATA_HOME": store.target}


def version() -> list[str]:
    """Print the version."""
    return [*_BUILDAH, "--version"]


def images() -> list[str]:
    """List the images of the sandbox: the smallest command that uses namespaces, mounts and the store."""
    return [*_BUILDAH, *_OWN_STORE, "images"]


def _isolation(isolation: Isolation) -> list[str]:
    if isolation is Isolation.CHROOT:
        return ["--isolation=chroot"]
    files = min(_FILES_AT_ONCE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    runtime = ["--isolation=rootless", "--runtime=runc", f"--runtime-flag=root={SCRATCH}/work/runc"]
    return [*runtime, "--network=private", f"--ulimit=nofile={files}:{files}"]
