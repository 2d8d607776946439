"""Refused sign-ins in the audit trail: bounded, because strangers cause them."""

import time
from collections.abc import Callable

from gateway.audit.events import NO_AUDIT, Action, Audit
from swell.log import log

MOST, SECONDS = 60, 60.0


class Refusals:
    """Records at most 60 refused sign-ins a minute; the log says when there are more. Names and secrets are unknown."""

    def __init__(self, audit: Audit = NO_AUDIT, clock: Callable[[], float] = time.monotonic) -> None:
        self._audit = audit
        self._clock = clock
        self._began = clock()
        self._count = 0

    def record(self, kind: str) -> None:
        """Record that the secret of one *kind* was refused: `browser`, `account` or `token`."""
        if self._clock() - self._began >= SECONDS:
            self._began, self._count = self._clock(), 0
        self._count += 1
        if self._count <= MOST:
            self._audit.record(Action.SIGN_IN_REFUSED, subject=kind)
        elif self._count == MOST + 1:
            log.warning("refused sign-ins not recorded", most=MOST, seconds=SECONDS)
