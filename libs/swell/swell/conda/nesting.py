"""The depth of a YAML document: the time of PyYAML grows with the square of the open brackets."""

from itertools import accumulate

MAX_DEPTH = 100  # environment files have two or three


def is_nested_too_deeply(text: str) -> bool:
    """Whether more than 100 brackets are open at once in *text*; brackets in quotes count as well."""
    return max(accumulate((letter in "[{") - (letter in "]}") for letter in text), default=0) > MAX_DEPTH
