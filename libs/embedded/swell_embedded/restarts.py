"""When a crashed program is started again, and when it is given up. Pure."""

from msgspec import Struct

FIRST_DELAY = 0.5  # seconds
LONGEST_DELAY = 15.0
STEADY = 60.0  # seconds; who stays up so long may crash as often again
MOST = 5  # crashes in a row, each before it was steady


class Restarts(Struct):
    """The crashes of one program in a row."""

    crashes: int = 0

    def crashed(self, up: float) -> float | None:
        """Count a crash after *up* seconds of being ready: the delay until the next start, None for giving up."""
        self.crashes = 1 if up >= STEADY else self.crashes + 1
        if self.crashes >= MOST:
            return None
        return float(min(FIRST_DELAY * 2 ** (self.crashes - 1), LONGEST_DELAY))
