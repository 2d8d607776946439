"""Limits on container files, whose authors are not trusted, and the error for a line that exceeds one."""

from swell.errors import BadRequest

MAX_SIZE = 256 << 10  # characters of a file
MAX_INSTRUCTIONS = 5_000
MAX_STAGES = 200
MAX_FLAGS = 50  # of one instruction
MAX_HEREDOCS = 50  # of one instruction
MAX_VALUE = 4_096  # characters of one variable or expanded word
MAX_VALUES = 1 << 20  # characters of all variables of a file together
MAX_DEPTH = 20  # of `${a:-${b:-...}}`
MAX_PATTERN = 64  # characters of a pattern with wildcards, such as `${a//x*y/z}`
MAX_MATCHED = 128  # characters that such a pattern is matched with
MAX_STEPS = 500_000  # comparisons of such patterns in a file


def error_at(line: int, reason: str) -> BadRequest:
    """Return the error for *line*, counted from 1."""
    return BadRequest(f"line {line} of the container file: {reason}")
