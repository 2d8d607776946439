"""Buildah's command lines and its configuration files, as this engine wants them (buildah 1.28 or later)."""

import json
import os
import resource
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from builder.settings import EngineSettings, Isolation

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_FILES_AT_ONCE = 65536
_USER_IDS = 65536

# Images come from registries only: other transports (oci:, dir:, docker-archive:) would read files of this machine.
_POLICY = {"default": [{"type": "reject"}], "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}}

_CONTAINERS = """\
[network]
network_backend = "netavark"
[engine]
cgroup_manager = "cgroupfs"
"""

_HERE = "/tmp"  # noqa: S108  (the room, see below)

# Run in the room, in a mount namespace of its own. The room becomes /tmp: that is open to users of any id, wherever the
# workspace is. The rooms of others disappear. The distribution's aliases would send short names elsewhere than to
# Docker Hub, and no option of buildah turns them off.
_ENTER = """\
set -e
aliases=/etc/containers/registries.conf.d
if [ -d "$aliases" ]; then mount --bind no-aliases "$aliases"; fi
mount --bind "$BASES" bases
mount --rbind . /tmp
if [ -d "$WORKSPACE" ]; then mount -t tmpfs -o size=4k,mode=0 tmpfs "$WORKSPACE"; fi
unset BASES WORKSPACE
cd /tmp
exec buildah "$@"
"""
_ENTERED = ("sh", "-c", _ENTER, "buildah")
_STORE = (f"--root={_HERE}/store", f"--runroot={_HERE}/run")
_STORE_OPTIONS = (f"--storage-opt=overlay.imagestore={_HERE}/bases", "--storage-opt=overlay.mountopt=nodev")
_BASES = (f"--root={_HERE}/bases", f"--runroot={_HERE}/bases-run", "--storage-opt=overlay.mountopt=nodev")
_POLICY_FLAG = f"--signature-policy={_HERE}/policy.json"
_ENVIRONMENT = {
    "HOME": _HERE,
    "TMPDIR": _HERE,
    "CONTAINERS_CONF": f"{_HERE}/containers.conf",
    "CONTAINERS_STORAGE_CONF": f"{_HERE}/storage.conf",
    "CONTAINERS_REGISTRIES_CONF": f"{_HERE}/registries.conf",
}


class Room(Struct, frozen=True):
    """The directory of one build. `bases` is the store of base images, which all builds read; `group` its cgroup."""

    path: Path
    bases: Path
    group: str

    def __truediv__(self, name: str) -> Path:
        return self.path / name


def furnish(room: Room, insecure_registries: tuple[str, ...]) -> None:
    """Put into an empty room what every command needs there."""
    room.path.chmod(0o711)
    for name in ("bases", "context", "no-aliases"):
        (room / name).mkdir()
    (room / "policy.json").write_text(json.dumps(_POLICY))
    (room / "containers.conf").write_text(_CONTAINERS)
    (room / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    (room / "registries.conf").write_text(_registries((*_LOOPBACK, *insecure_registries)))


def _registries(insecure: tuple[str, ...]) -> str:
    head = 'unqualified-search-registries = ["docker.io"]\nshort-name-mode = "disabled"\n'
    return head + "".join(f"[[registry]]\nlocation = {json.dumps(host)}\ninsecure = true\n" for host in insecure)


class Buildah:
    """Words a command, to be run in a room; `limited` tells whether this machine lets us make control groups."""

    def __init__(self, settings: EngineSettings, *, limited: bool) -> None:
        self._settings = settings
        self.limited = limited

    def build(self, room: Room, platform: str) -> list[str]:
        """Build the room's `Containerfile` with its `context`; the image's id is then in `image-id`.

        `--pull-always` asks the registry for every image, so that nobody is given what another may see. The docker
        format keeps SHELL and HEALTHCHECK, which the OCI format has no place for.
        """
        return [
            *_ENTERED,
            *_STORE,
            *_STORE_OPTIONS,
            "build",
            "--pull-always",
            "--format=docker",
            f"--platform={platform}",
            f"--authfile={_HERE}/pull.json",
            _POLICY_FLAG,
            f"--iidfile={_HERE}/image-id",
            f"--file={_HERE}/Containerfile",
            "--http-proxy=false",
            *self._isolation(room),
            f"{_HERE}/context",
        ]

    def environment(self, room: Room) -> dict[str, str]:
        """What every command runs with: buildah's files are the room's, and it finds no credentials by chance."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "BASES": str(room.bases.resolve()),
            "WORKSPACE": str(self._settings.workspace.resolve()),
            **_ENVIRONMENT,
            **_proxies(os.environ),
        }

    def _isolation(self, room: Room) -> list[str]:
        first = self._settings.first_user_id
        ids = [f"--userns-uid-map=0:{first}:{_USER_IDS}", f"--userns-gid-map=0:{first}:{_USER_IDS}"]
        if self._settings.isolation is Isolation.CHROOT:
            return ["--isolation=chroot", *ids]
        files = min(_FILES_AT_ONCE, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        oci = ["--isolation=oci", "--runtime=runc", f"--runtime-flag=root={_HERE}/runc", "--network=private"]
        return [*oci, *ids, f"--ulimit=nofile={files}:{files}", *self._limits(room)]

    def _limits(self, room: Room) -> list[str]:
        if not self.limited:
            return []
        return [f"--memory={self._settings.build_memory}", f"--cgroup-parent=/{room.group}/step"]


def push(image_id: str, target_image: str) -> list[str]:
    """Push what was built; the manifest's digest is then in `digest`."""
    command = ["push", f"--authfile={_HERE}/push.json", f"--digestfile={_HERE}/digest"]
    return [*_ENTERED, *_STORE, *_STORE_OPTIONS, *command, image_id, f"docker://{target_image}"]


def pull(image: str, platform: str) -> list[str]:
    """Fetch a base image into the store that builds share."""
    command = [
        "pull",
        "--quiet",
        "--policy=always",
        "--retry=0",
        f"--platform={platform}",
        f"--authfile={_HERE}/pull.json",
    ]
    return [*_ENTERED, *_BASES, *command, _POLICY_FLAG, image]


def images() -> list[str]:
    """List the room's images: the least that proves namespaces, mounts and the store."""
    return [*_ENTERED, *_STORE, *_STORE_OPTIONS, "images"]


def _proxies(environment: Mapping[str, str]) -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "no_proxy")
    return {name: value for name, value in environment.items() if name.lower() in names}
