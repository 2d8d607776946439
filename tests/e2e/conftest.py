"""The fixtures of the end-to-end tests are in `tests.e2e.fixtures`, because the conformance tests use them, too."""

from tests.e2e.fixtures import (
    channel,
    containerd,
    docker,
    engine,
    images,
    new_stack,
    no_secret_left,
    odd,
    stack,
    swell,
    upstreams,
    web,
)

__all__ = [
    "channel",
    "containerd",
    "docker",
    "engine",
    "images",
    "new_stack",
    "no_secret_left",
    "odd",
    "stack",
    "swell",
    "upstreams",
    "web",
]
