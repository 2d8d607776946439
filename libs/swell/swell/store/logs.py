"""Where the log of a build is: its lines while it runs, the whole when it has ended."""

BUCKET = "swell-logs"


def log_subject(build_id: str) -> str:
    """The subject of its lines in the stream LOGS."""
    return f"logs.{build_id}"


def log_key(build_id: str) -> str:
    """The key of the whole log in the bucket swell-logs."""
    return f"{build_id}.log"


def lock_key(build_id: str) -> str:
    """The key of the lock file that a build of packages made, in the same bucket."""
    return f"{build_id}.lock"
