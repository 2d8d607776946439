"""Images and pulls that several tests use."""

from datetime import UTC, datetime

from registry_proxy.image_tree.tree import Pull
from swell.api.containers import ContainerConfig
from swell.oci.platform import parse_platform
from swell.testing.images import make_layer
from swell.testing.registry import Pushed

UBUNTU = "docker.io/library/ubuntu:22.04"
ADDED = make_layer("added").to_add("https://example.com/added.tar.gz")
WANTED = ContainerConfig(env=("A=b",), layers=(ADDED,))
NOTHING = ContainerConfig()


def pull_of(
    pushed: Pushed,
    wanted: ContainerConfig = NOTHING,
    *,
    token: str = "t1",  # noqa: S107
    platforms: tuple[str, ...] = ("linux/amd64",),
) -> Pull:
    expires = datetime(2026, 11, 25, tzinfo=UTC)
    return Pull(token, pushed.reference, tuple(map(parse_platform, platforms)), expires, wanted)
