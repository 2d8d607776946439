"""The health of the gateway: `/health` and `/health/readiness`."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct, field


class HealthStatus(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`UP` while anything useful works, otherwise `DOWN` with the `reason`.

    If only some abilities work, `degraded` is true, `works` lists them, and `fails` has the reason of each other one.
    `engine` names the engines of the builders for container files.
    """

    status: Literal["UP", "DOWN"]
    degraded: bool = False
    works: tuple[str, ...] = ()
    fails: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    engine: str | None = None
