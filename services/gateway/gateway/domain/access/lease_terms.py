"""How long leases of tokens last."""

from datetime import timedelta

from msgspec import Struct


class LeaseTerms(Struct, frozen=True):
    """A lease lasts `step`; a token with leases at most `limit`. Runs are looked up each `check`."""

    step: timedelta = timedelta(minutes=20)
    limit: timedelta = timedelta(days=2)
    check: timedelta = timedelta(minutes=3)
