"""Sessions of browsers: how long they and what is made with them last."""

from datetime import timedelta

from gateway.domain.access.identity import Identity
from gateway.domain.access.session import new_session
from tests.unit.gateway.doubles import NOON


def test_what_a_session_makes_may_last_as_long_as_the_session() -> None:
    """An ID token often lives for five minutes; a key that is made an hour later must not have expired already."""
    identity = Identity(user="ada", expires=NOON + timedelta(minutes=5))

    session = new_session(identity, NOON, timedelta(hours=8))

    assert session.identity.expires == session.expires == NOON + timedelta(hours=8)
