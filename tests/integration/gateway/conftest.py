"""What the tests of the gateway's edges share."""

from datetime import UTC, datetime, timedelta

from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig

TOKEN = "abcdefghijklmnopqrstuvwxyz"


def make_grant(
    token: str = TOKEN, *, life: timedelta = timedelta(hours=36), wanted: ContainerConfig | None = None
) -> Grant:
    """A grant of `ubuntu:22.04` that was given now."""
    now = datetime.now(UTC).replace(microsecond=0)
    return Grant(
        token=token,
        image="docker.io/library/ubuntu:22.04",
        platform="linux/amd64",
        created=now,
        expires=now + life,
        container_config=wanted,
    )
