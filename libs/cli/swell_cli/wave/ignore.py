"""The `.dockerignore` of Wave's command line: a pattern is a glob of Java on the whole path of a file.

The last pattern that matches counts. The name of a folder does not leave out what is in it.
Source: https://docs.oracle.com/en/java/javase/17/docs/api/java.base/java/nio/file/FileSystem.html#getPathMatcher(java.lang.String)
"""

import re
from collections.abc import Iterable

_SPECIAL = set(".^$+{[]|()*?\\")


class WaveIgnore:
    """The files that *lines* leave out.

    Raises:
        ValueError: a pattern is malformed.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns = list[tuple[bool, re.Pattern[str]]]()
        for line in map(str.strip, lines):
            if line and not line.startswith("#"):
                try:
                    self._patterns.append((line.startswith("!"), re.compile(_glob(line.removeprefix("!")), re.DOTALL)))
                except re.error as error:
                    raise ValueError(f"the pattern {line!r} is malformed") from error

    def leaves_out(self, path: str) -> bool:
        left_out = False
        for excepts, pattern in self._patterns:
            if pattern.fullmatch(path):
                left_out = not excepts
        return left_out


def _glob(pattern: str) -> str:
    parts, at, in_group = list[str](), 0, False
    while at < len(pattern):
        character = pattern[at]
        at += 1
        match character:
            case "\\" if at < len(pattern):
                parts.append(re.escape(pattern[at]))
                at += 1
            case "[":
                end = pattern.find("]", at + 1)
                if end < 0:
                    raise ValueError(f"the pattern {pattern!r} has no closing bracket")
                negated = "^" if pattern[at] in "!^" else ""
                inside = pattern[at + len(negated) : end].replace("\\", "\\\\").replace("[", "\\[")
                parts.append(f"(?!/)[{negated}{inside}]")
                at = end + 1
            case "{" if not in_group:
                parts.append("(?:(?:")
                in_group = True
            case "}" if in_group:
                parts.append("))")
                in_group = False
            case "," if in_group:
                parts.append(")|(?:")
            case "*" if pattern.startswith("*", at):
                parts.append(".*")
                at += 1
            case "*":
                parts.append("[^/]*")
            case "?":
                parts.append("[^/]")
            case _:
                parts.append(re.escape(character) if character in _SPECIAL else character)
    if in_group:
        raise ValueError(f"the pattern {pattern!r} has no closing brace")
    return "".join(parts)
