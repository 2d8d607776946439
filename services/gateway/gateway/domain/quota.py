"""Quotas: how many permits one client gets per period.

Permits are counted by the generic cell rate algorithm: a bucket of `permits` that refills evenly. A client may take
all permits at once and then one every `step`; in no period does it get more than twice its quota. The state of a
bucket is one timestamp: when it is full again.

Source: ITU-T I.371, "Traffic control and congestion control in B-ISDN", https://www.itu.int/rec/T-REC-I.371
"""

import re
from enum import StrEnum

from msgspec import Struct

PATTERN = r"^(off|[1-9][0-9]{0,5}/([1-9][0-9]{0,2})?[smhd])$"
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Kind(StrEnum):
    """What a quota counts."""

    BUILD = "build"
    PULL = "pull"
    TOKEN = "live-token"  # noqa: S105
    SCAN = "scan"


class Client(Struct, frozen=True, gc=False):
    """The owner of a bucket: a user, or a client address when the user is unknown."""

    user: str
    address: str = ""

    def __str__(self) -> str:
        return f"user {self.user}" if self.user else f"address {self.address}"


class Quota(Struct, frozen=True):
    """At most `permits` per `seconds`."""

    permits: int
    seconds: int

    def __str__(self) -> str:
        unit = max((name for name in _SECONDS if self.seconds % _SECONDS[name] == 0), key=_SECONDS.__getitem__)
        return f"{self.permits}/{self.seconds // _SECONDS[unit]}{unit}"

    @property
    def step(self) -> int:
        """Whole microseconds until one permit is available again, so that sums are exact."""
        return -(-self.seconds * 1_000_000 // self.permits)

    @property
    def block(self) -> int:
        """Permits that one process takes in advance: a twentieth, at least 1."""
        return max(1, self.permits // 20)


class Quotas(Struct, frozen=True, kw_only=True):
    """The quota of each kind for users and for anonymous clients; None is no limit."""

    build: Quota | None = None
    pull: Quota | None = None
    anonymous_build: Quota | None = None
    anonymous_pull: Quota | None = None
    token: Quota | None = None
    anonymous_token: Quota | None = None
    scan: Quota | None = None
    anonymous_scan: Quota | None = None

    def of(self, kind: Kind, client: Client) -> Quota | None:
        match kind:
            case Kind.PULL:  # the most frequent one
                return self.pull if client.user else self.anonymous_pull
            case Kind.TOKEN:
                return self.token if client.user else self.anonymous_token
            case Kind.BUILD:
                return self.build if client.user else self.anonymous_build
            case Kind.SCAN:
                return self.scan if client.user else self.anonymous_scan


class Taken(Struct, frozen=True):
    """Result of a request for permits: `granted` permits; one more in `wait` seconds, all in `reset` seconds."""

    granted: int
    wait: float = 0.0
    reset: float = 0.0


def parse_quota(text: str) -> Quota | None:
    """Parse `250/1h`, `100/h`, `20/30s`, or `off`, which gives None.

    Raises:
        ValueError: *text* has another form.
    """
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r} is not a limit; write 250/1h, 100/h or off")
    if text == "off":
        return None
    permits, _, period = text.partition("/")
    return Quota(int(permits), int(period[:-1] or 1) * _SECONDS[period[-1]])
