"""Buildah's command lines, in a sandbox, and its configuration files (buildah 1.28 or later)."""

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

# Images come from registries only: other transports (oci:, dir:, docker-archive:) would read files of this machine.
_POLICY = {"default": [{"type": "reject"}], "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}}
# What is pushed comes from the build's own store.
_PUSH_POLICY = {
    "default": [{"type": "reject"}],
    "transports": {"containers-storage": {"": [{"type": "insecureAcceptAnything"}]}},
}

DOCKER_ONLY = "docker only: "
STORAGE_CONF = "storage.conf"
BLOB_CACHE = "containers/cache/blob-info-cache-v1.boltdb"
"""What registries are known to have, below `XDG_DATA_HOME`: layers by what they are unpacked, which has been verified.
Without it, all layers are compressed anew."""

_ABOUT_PLATFORM = re.compile(
    rb"\[Warning\] one or more build args were not consumed: \[TARGET[A-Z]+(?: TARGET[A-Z]+)*\]"
)

_POLICY_FLAG = f"--signature-policy={SCRATCH}/policy.json"
_PUSH_POLICY_FLAG = f"--signature-policy={SCRATCH}/push-policy.json"
_AUTH_FLAG = f"--authfile={SECRET}"
_BUILDAH = ("buildah",)
_OWN_STORE = (f"--root={SCRATCH}/work/store", f"--runroot={SCRATCH}/work/run")


def configuration(insecure_registries: tuple[str, ...]) -> dict[str, str]:
    """The configuration files of a sandbox; loopback and *insecure_registries* (host[:port]) may be plain HTTP."""
    return {
        "policy.json": json.dumps(_POLICY),
        "push-policy.json": json.dumps(_PUSH_POLICY),
        "containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\n',
        STORAGE_CONF: storage_conf(()),
        "registries.conf": _registries((*_LOOPBACK, *insecure_registries)),
    }


def programs() -> dict[str, str]:
    """Programs that stand before the machine's own: buildah 1.28 has no option for slirp4netns, by which steps would
    reach the machine's loopback."""
    slirp4netns = shutil.which("slirp4netns") or "slirp4netns-is-missing"
    return {"slirp4netns": f'#!/bin/sh\nexec {slirp4netns} --disable-host-loopback "$@"\n'}


def environment(user_id: int) -> dict[str, str]:
    """The environment of all commands. Buildah takes itself for one that the user *user_id* runs without root."""
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
    """A store of base images in a sandbox."""
    return Mount(store, f"{SCRATCH}/bases/{store.name}", writable)


def storage_conf(stores: Iterable[Mount]) -> str:
    """The file `STORAGE_CONF`, with the read-only *stores* of base images."""
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
    again: bool = False,
    proxies: bool = False,
) -> list[str]:
    """Build `Containerfile` with `work/context`; the image's id is then in `work/image-id`.

    `--pull-always` asks the registry for every image, so that nobody is given what another may see. The docker format
    keeps SHELL and HEALTHCHECK, which the OCI format has no place for. Steps are taken from and kept in the repository
    *cache*; *again* goes on where a build with a cache has ended, without one. *proxies* are told to the steps as well.
    """
    command = ["build", "--pull-always", "--format=docker", f"--platform={platform}", _AUTH_FLAG, _POLICY_FLAG]
    files = [f"--file={SCRATCH}/Containerfile", f"--iidfile={SCRATCH}/work/image-id", f"{SCRATCH}/work/context"]
    layers = ["--layers"] if cache or again else []
    caching = [f"--cache-from={cache}", f"--cache-to={cache}", "--retry=1"] if cache else []
    chosen = [f"--build-arg={name}={value}" for name, value in options.build_args.items()]
    chosen += [f"--label={name}={value}" for name, value in options.labels.items()]
    chosen += [f"--target={options.target}"] if options.target else []
    command += [f"--http-proxy={str(proxies).lower()}", *layers, *caching, *chosen, *_isolation(isolation)]
    return [*_BUILDAH, *_OWN_STORE, *command, *files]


def push(image_id: str, target_image: str, compression: Compression) -> list[str]:
    """Push what was built; the manifest's digest is then in `work/digest`.

    The format is named, because buildah would leave the docker format as soon as it meets a layer of zstd.
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


def docker_only(image_id: str) -> list[str]:
    """Say which instructions an image has followed that the OCI format has no place for, on a line of its own."""
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


def is_zstd_trouble(said: Iterable[bytes]) -> bool:
    """Whether a push failed because the registry has a layer as zstd, which the docker format cannot name."""
    return any(b"zstd compression is not supported for type" in line for line in said)


def is_about_platform(line: bytes) -> bool:
    """Whether buildah says no more than that nothing makes use of the arguments that `--platform` implies.

    Source: buildah's issue 4485.
    """
    return _ABOUT_PLATFORM.fullmatch(line) is not None


def export(image_id: str) -> list[str]:
    """Write what was built into `work/image`, an OCI layout, with its layers as plain tars."""
    options = ["--disable-compression", _PUSH_POLICY_FLAG]
    return [*_BUILDAH, *_OWN_STORE, "push", *options, image_id, f"oci:{SCRATCH}/work/image:image"]


def pull(image: str, platform: str, store: Mount) -> list[str]:
    """Fetch a base image into *store*, which must be writable."""
    command = ["pull", "--quiet", "--policy=always", "--retry=0", f"--platform={platform}", _AUTH_FLAG, _POLICY_FLAG]
    return [*_BUILDAH, f"--root={store.target}", f"--runroot={SCRATCH}/work/bases-run", *command, image]


def pull_environment(store: Mount) -> dict[str, str]:
    """Where a pull keeps what it learns of the registry: beside the images."""
    return {"XDG_DATA_HOME": store.target}


def version() -> list[str]:
    """Print the version."""
    return [*_BUILDAH, "--version"]


def images() -> list[str]:
    """List the sandbox's images: the least that proves namespaces, mounts and the store."""
    return [*_BUILDAH, *_OWN_STORE, "images"]


def _isolation(isolation: Isolation) -> list[str]:
    if isolation is Isolation.CHROOT:
        return ["--isolation=chroot"]
    files = min(_FILES_AT_ONCE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    runtime = ["--isolation=rootless", "--runtime=runc", f"--runtime-flag=root={SCRATCH}/work/runc"]
    return [*runtime, "--network=private", f"--ulimit=nofile={files}:{files}"]
