"""How long the object store keeps what builders write."""

from datetime import timedelta

from structlog.testing import capture_logs

from builder.parts import set_expiry
from swell.errors import Unavailable


class Rules:
    """A bucket that stores its lifecycle rules, or accepts none."""

    def __init__(self, *, accepts: bool = True) -> None:
        self.days: dict[str, int] = {}
        self._accepts = accepts

    async def expire(self, prefix: str, days: int) -> None:
        if not self._accepts:
            raise Unavailable("the object store answers 501")
        self.days[prefix] = days


async def test_logs_live_a_day_longer_than_the_records_that_name_them() -> None:
    """They once grew for ever. A record never names a log that is gone."""
    logs, layers = Rules(), Rules()

    await set_expiry(layers, logs, timedelta(days=90))  # type: ignore[arg-type]
    assert (logs.days, layers.days) == ({"": 91}, {"unpushed/": 1})

    await set_expiry(layers, logs, timedelta(hours=2))  # type: ignore[arg-type]
    assert logs.days == {"": 1}


async def test_an_object_store_without_lifecycle_rules_is_usable() -> None:
    """The operator reads in the log of the builder that nothing is removed."""
    with capture_logs() as lines:
        await set_expiry(Rules(), Rules(accepts=False), timedelta(days=90))  # type: ignore[arg-type]

    assert [line["event"] for line in lines] == ["logs are stored for ever: the object store accepts no lifecycle rule"]
