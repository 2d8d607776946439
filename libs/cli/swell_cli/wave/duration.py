"""Durations as Java writes and reads them, such as `PT1M12.5S`.

Source: ISO 8601, as in https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/time/Duration.html
"""

import re
from decimal import Decimal

_FORM = re.compile(r"(?:([-+]?\d+)H)?(?:([-+]?\d+)M)?(?:([-+]?\d+(?:\.\d{0,9})?)S)?", re.ASCII)


def parse_duration(text: str) -> Decimal:
    """The seconds in `90s`, `10m` or `1h30m`.

    Raises:
        ValueError: it has another form.
    """
    match = _FORM.fullmatch(text.upper())
    if not match or not any(match.groups()):
        raise ValueError(f"'{text}' is not a duration, such as 10m or 1h30m")
    hours, minutes, seconds = (Decimal(group or 0) for group in match.groups())
    return hours * 3600 + minutes * 60 + seconds


def format_duration(seconds: Decimal) -> str:
    """*seconds*, which are not negative, as `PT…`."""
    whole, fraction = divmod(seconds, 1)
    hours, rest = divmod(int(whole), 3600)
    minutes, left = divmod(rest, 60)
    digits = f"{fraction:.9f}"[2:].rstrip("0")
    text = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "")
    if left or digits:
        text += f"{left}.{digits}S" if digits else f"{left}S"
    return f"PT{text or '0S'}"
