"""How pages show sizes, durations, instants and digests."""

from datetime import UTC, datetime

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(count: int) -> str:
    """*count* bytes, such as `1.5 MiB`."""
    amount, unit = float(count), 0
    while amount >= 1024 and unit < len(_UNITS) - 1:
        amount, unit = amount / 1024, unit + 1
    return f"{amount:.0f} {_UNITS[unit]}" if unit == 0 or amount >= 100 else f"{amount:.1f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """*seconds* such as `0.4 s`, `12 s`, `3:05 min` or `1:02:03 h`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02} h"


def moment(instant: datetime) -> str:
    """*instant* in UTC, such as `2026-11-30 03:15 UTC`."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def exact(instant: datetime) -> str:
    """*instant* for the attribute `datetime`."""
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def short(digest: str) -> str:
    """The first digits of *digest*: `sha256:0123456789ab…`."""
    algorithm, _, digits = digest.partition(":")
    return f"{algorithm}:{digits[:12]}…" if len(digits) > 12 else digest


def sentence(message: str) -> str:
    """*message* with a capital letter and a full stop, unless it begins with a name such as `containerConfig.env`."""
    first = message.partition(" ")[0]
    shown = message[:1].upper() + message[1:] if first.isalpha() and first.islower() else message
    return shown if shown.endswith((".", "!", "?")) else f"{shown}."


FILTERS = {"size": size, "duration": duration, "moment": moment, "exact": exact, "short": short, "sentence": sentence}
