"""The delays before a crashed program is restarted, and the limit of crashes. Pure."""

from msgspec import Struct

FIRST_DELAY = 0.5  # seconds
LONGEST_DELAY = 15.0
STEADY = 60.0  # seconds of running after which the count of crashes starts again
MAX_CRASHES = 5  # in a row, each within STEADY seconds


class Restarts(Struct):
    """Counts the consecutive crashes of one program."""

    crashes: int = 0

    def crashed(self, up: float) -> float | None:
        """Count a crash after *up* seconds; return the delay before the restart, None if the limit is reached."""
        self.crashes = 1 if up >= STEADY else self.crashes + 1
        if self.crashes >= MAX_CRASHES:
            return None
        return float(min(FIRST_DELAY * 2 ** (self.crashes - 1), LONGEST_DELAY))
