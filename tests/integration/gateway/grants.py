"""Grants, and the records of their requests, for the tests of the gateway's adapters."""

from datetime import UTC, datetime, timedelta

from gateway.domain.grant import Grant
from swell.api.containers import ContainerConfig, ContainerRecord

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


def record_of(grant: Grant) -> ContainerRecord:
    """The least that is kept of the request behind *grant*."""
    return ContainerRecord(
        id=grant.token,
        platform=grant.platform,
        timestamp=grant.created,
        zone_id="Z",
        source_image=grant.image,
        expiration=grant.expires,
        mirror=False,
    )


def asked(token: str = TOKEN, *, life: timedelta = timedelta(hours=36)) -> tuple[Grant, ContainerRecord]:
    """A request as the store takes it."""
    grant = make_grant(token, life=life)
    return grant, record_of(grant)
