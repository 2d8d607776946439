"""The storage of build logs: a stream of lines during the build, one object after its end.

Lines are numbered from 1 in each attempt; the object has the log of the last attempt. A message in the stream LOGS has
some lines, each with its line feed. Its headers give the attempt and the first line, so a reader detects gaps.
"""

BUCKET = "swell-logs"
STREAM = "LOGS"

ATTEMPT = "Swell-Attempt"  # the number of the attempt
FIRST_LINE = "Swell-First-Line"  # the number of the first line of the message
COMPLETE = "Swell-Complete"  # in the last message, which has no lines: the object is stored


def log_subject(build_id: str) -> str:
    """Return the subject of the lines in the stream LOGS."""
    return f"logs.{build_id}"


def log_key(build_id: str) -> str:
    """Return the key of the complete log in the bucket swell-logs."""
    return f"{build_id}.log"


def lock_key(build_id: str) -> str:
    """Return the key of the lock file of a package build, in the same bucket."""
    return f"{build_id}.lock"
