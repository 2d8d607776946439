"""Where the log of a build is: its lines while it runs, the whole when it has ended.

Lines are numbered from 1 in each attempt; the whole is the log of the last one. A message in the stream LOGS holds some
lines, each with its line feed, and tells in its headers which: so whoever reads knows what is missing.
"""

BUCKET = "swell-logs"
STREAM = "LOGS"

ATTEMPT = "Swell-Attempt"  # which attempt to build it
FIRST_LINE = "Swell-First-Line"  # the number of the first line in the message
COMPLETE = "Swell-Complete"  # in a message without lines: there are no more, and the whole is kept


def log_subject(build_id: str) -> str:
    """The subject of its lines in the stream LOGS."""
    return f"logs.{build_id}"


def log_key(build_id: str) -> str:
    """The key of the whole log in the bucket swell-logs."""
    return f"{build_id}.log"


def lock_key(build_id: str) -> str:
    """The key of the lock file that a build of packages made, in the same bucket."""
    return f"{build_id}.lock"
