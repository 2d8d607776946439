"""Buildah's command lines, in a room, and its configuration files (buildah 1.28 or later)."""

import json
import re
import resource
from collections.abc import Iterable

from builder.adapters.room import AUTH_FILE, ENTERED, HERE
from builder.domain.compression import Compression
from builder.settings import Isolation
from swell.api.containers import CompressionMode

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_FILES_AT_ONCE = 65536

# Images come from registries only: other transports (oci:, dir:, docker-archive:) would read files of this machine.
_POLICY = {"default": [{"type": "reject"}], "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}}

DOCKER_ONLY = "docker only: "
BLOB_CACHE = "containers/cache/blob-info-cache-v1.boltdb"
"""What registries are known to have, below `XDG_DATA_HOME`: layers by what they are unpacked, which has been verified.
Without it, all layers are compressed anew."""

_ABOUT_PLATFORM = re.compile(
    rb"\[Warning\] one or more build args were not consumed: \[TARGET[A-Z]+(?: TARGET[A-Z]+)*\]"
)

_POLICY_FLAG = f"--signature-policy={HERE}/policy.json"
_AUTH_FLAG = f"--authfile={AUTH_FILE}"
_CONFIGURATION = (
    f"CONTAINERS_CONF={HERE}/containers.conf",
    f"CONTAINERS_STORAGE_CONF={HERE}/storage.conf",
    f"CONTAINERS_REGISTRIES_CONF={HERE}/registries.conf",
)
_BUILDAH = (*ENTERED, "env", *_CONFIGURATION, "buildah", "--storage-opt=overlay.mountopt=nodev")
_OWN_STORE = (
    f"--root={HERE}/work/store",
    f"--runroot={HERE}/work/run",
    f"--storage-opt=overlay.imagestore={HERE}/bases",
)
_SHARED_STORE = (f"--root={HERE}/bases", f"--runroot={HERE}/work/bases-run")


def configuration(insecure_registries: tuple[str, ...]) -> dict[str, str]:
    """The configuration files of a room; loopback and *insecure_registries* (host[:port]) may be plain HTTP."""
    return {
        "policy.json": json.dumps(_POLICY),
        "containers.conf": '[engine]\ncgroup_manager = "cgroupfs"\n',
        "storage.conf": '[storage]\ndriver = "overlay"\n',
        "registries.conf": _registries((*_LOOPBACK, *insecure_registries)),
    }


def _registries(insecure: tuple[str, ...]) -> str:
    head = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n'
    return head + "".join(f"[[registry]]\nlocation = {json.dumps(host)}\ninsecure = true\n" for host in insecure)


def build(
    platform: str, isolation: Isolation, *, cache: str | None = None, again: bool = False, proxies: bool = False
) -> list[str]:
    """Build `Containerfile` with `work/context`; the image's id is then in `work/image-id`.

    `--pull-always` asks the registry for every image, so that nobody is given what another may see. The docker format
    keeps SHELL and HEALTHCHECK, which the OCI format has no place for. Steps are taken from and kept in the repository
    *cache*; *again* goes on where a build with a cache has ended, without one. *proxies* are told to the steps as well.
    """
    command = ["build", "--pull-always", "--format=docker", f"--platform={platform}", _AUTH_FLAG, _POLICY_FLAG]
    files = [f"--file={HERE}/Containerfile", f"--iidfile={HERE}/work/image-id", f"{HERE}/work/context"]
    layers = ["--layers"] if cache or again else []
    caching = [f"--cache-from={cache}", f"--cache-to={cache}", "--retry=1"] if cache else []
    command += [f"--http-proxy={str(proxies).lower()}", *layers, *caching, *_isolation(isolation)]
    return [*_BUILDAH, *_OWN_STORE, *command, *files]


def push(image_id: str, target_image: str, compression: Compression) -> list[str]:
    """Push what was built; the manifest's digest is then in `work/digest`.

    The format is named, because buildah would leave the docker format as soon as it meets a layer of zstd.
    """
    zstd = compression.mode is CompressionMode.ZSTD
    options = [f"--compression-format={compression.mode}", f"--format={'oci' if zstd else 'v2s2'}"]
    if compression.level is not None:
        options.append(f"--compression-level={compression.level}")
    command = ["push", _AUTH_FLAG, f"--digestfile={HERE}/work/digest", *options, image_id, f"docker://{target_image}"]
    return [*_BUILDAH, *_OWN_STORE, *command]


def docker_only(image_id: str) -> list[str]:
    """Say which instructions an image has followed that the OCI format has no place for, on a line of its own."""
    fields = {"HEALTHCHECK": "Healthcheck", "SHELL": "Shell", "ONBUILD": "OnBuild"}
    words = "".join(f"{{{{if .Docker.Config.{field}}}}}{name} {{{{end}}}}" for name, field in fields.items())
    return [*_BUILDAH, *_OWN_STORE, "inspect", "--type=image", f"--format={DOCKER_ONLY}{words}", image_id]


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
    return [*_BUILDAH, *_OWN_STORE, "push", "--disable-compression", image_id, f"oci:{HERE}/work/image:image"]


def pull(image: str, platform: str) -> list[str]:
    """Fetch a base image into the store that builds share, which must be writable."""
    command = ["pull", "--quiet", "--policy=always", "--retry=0", f"--platform={platform}", _AUTH_FLAG, _POLICY_FLAG]
    return [*_BUILDAH, *_SHARED_STORE, *command, image]


def images() -> list[str]:
    """List the room's images: the least that proves namespaces, mounts and the store."""
    return [*_BUILDAH, *_OWN_STORE, "images"]


def _isolation(isolation: Isolation) -> list[str]:
    if isolation is Isolation.CHROOT:
        return ["--isolation=chroot"]
    files = min(_FILES_AT_ONCE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    runtime = ["--isolation=rootless", "--runtime=runc", f"--runtime-flag=root={HERE}/work/runc"]
    return [*runtime, "--network=private", f"--ulimit=nofile={files}:{files}"]
