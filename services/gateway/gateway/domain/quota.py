"""Quotas: what one client may have in how long.

They are counted by the generic cell rate algorithm (GCRA, of ATM's traffic management): a bucket of `permits` that
fills up again evenly. A client may take all of them at once and then one every `step`; in no period are there more
than twice as many as the quota says. All that is kept of a bucket is the moment at which it will be full.
"""

import re
from enum import StrEnum

from msgspec import Struct

PATTERN = r"^(off|[1-9][0-9]{0,5}/([1-9][0-9]{0,2})?[smhd])$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Kind(StrEnum):
    """What is counted."""

    BUILD = "build"
    PULL = "pull"
    TOKEN = "live-token"  # noqa: S105


class Client(Struct, frozen=True, gc=False):
    """Whose permits are taken: the user's, or the address's when no user is known."""

    user: str
    address: str = ""

    def __str__(self) -> str:
        return f"user {self.user}" if self.user else f"address {self.address}"


class Quota(Struct, frozen=True):
    """*permits* in *seconds*."""

    permits: int
    seconds: int

    def __str__(self) -> str:
        unit = max((name for name in _SECONDS if self.seconds % _SECONDS[name] == 0), key=_SECONDS.__getitem__)
        return f"{self.permits}/{self.seconds // _SECONDS[unit]}{unit}"

    @property
    def step(self) -> int:
        """Microseconds in which one permit comes back: whole ones, so that no sum is ever off."""
        return -(-self.seconds * 1_000_000 // self.permits)

    @property
    def block(self) -> int:
        """Permits that one process may hold in advance: a twentieth."""
        return max(1, self.permits // 20)


class Quotas(Struct, frozen=True, kw_only=True):
    """What applies to whom; None is no limit."""

    build: Quota | None = None
    pull: Quota | None = None
    anonymous_build: Quota | None = None
    anonymous_pull: Quota | None = None
    token: Quota | None = None
    anonymous_token: Quota | None = None

    def of(self, kind: Kind, client: Client) -> Quota | None:
        if kind is Kind.TOKEN:
            return self.token if client.user else self.anonymous_token
        if kind is Kind.PULL:
            return self.pull if client.user else self.anonymous_pull
        return self.build if client.user else self.anonymous_build


class Taken(Struct, frozen=True):
    """*granted* permits. There will be one more in *wait* seconds, and all of them in *reset* seconds."""

    granted: int
    wait: float = 0.0
    reset: float = 0.0


def parse_quota(text: str) -> Quota | None:
    """Read `250/1h`, `100/h`, `20/30s`, or `off`, which is None.

    Raises:
        ValueError: it is something else.
    """
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is no limit; say 250/1h, 100/h or off")
    if text == "off":
        return None
    permits, _, period = text.partition("/")
    return Quota(int(permits), int(period[:-1] or 1) * _SECONDS[period[-1]])
