"""The messages of `/v1alpha2/container/{requestId}/lease`: how long a token lives."""

from datetime import datetime

from msgspec import Struct


class LeaseAnswer(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A lease of a token: the token does not expire before `expiration`, unless it is revoked.

    `lease_id` renews and returns the lease. `token_expiration` is when the token expires if no lease is renewed;
    `latest_expiration` is the end that no lease passes.
    """

    lease_id: str
    expiration: datetime
    token_expiration: datetime
    latest_expiration: datetime


class ReturnedLease(Struct, frozen=True, kw_only=True, rename="camel"):
    """The response to a returned lease: when the token expires now."""

    token_expiration: datetime
