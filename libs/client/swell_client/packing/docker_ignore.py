"""The patterns of `.dockerignore`, with Docker's rules.

Sources: https://docs.docker.com/build/concepts/context/#dockerignore-files;
moby/patternmatcher, https://github.com/moby/patternmatcher/blob/v0.6.1/patternmatcher.go
"""

import posixpath
import re
from collections.abc import Iterable

MAX_PATTERNS = 10_000


class DockerIgnore:
    """The files that *lines* of a `.dockerignore` leave out.

    Raises:
        ValueError: a pattern is malformed, or there are more than 10,000.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._patterns = [_compile(line) for line in _significant(lines)]
        if len(self._patterns) > MAX_PATTERNS:
            raise ValueError(f"more than {MAX_PATTERNS} patterns")
        self._has_exceptions = any(excepts for excepts, _ in self._patterns)

    def leaves_out(self, path: str) -> bool:
        """Whether *path*, relative to the context, is left out: the last pattern that matches it or a parent counts."""
        names = path.split("/")
        candidates = [path, *("/".join(names[:depth]) for depth in range(1, len(names)))]
        left_out = False
        for excepts, pattern in self._patterns:
            if excepts == left_out and any(map(pattern.fullmatch, candidates)):
                left_out = not excepts
        return left_out

    def skips_folder(self, path: str) -> bool:
        """Whether nothing below the folder *path* can be in the context."""
        return not self._has_exceptions and self.leaves_out(path)


def _significant(lines: Iterable[str]) -> Iterable[str]:
    for number, line in enumerate(lines):
        text = line.removeprefix("\ufeff") if not number else line
        if not text.startswith("#") and (pattern := text.strip()):
            yield pattern


def _compile(line: str) -> tuple[bool, re.Pattern[str]]:
    """Whether the pattern is an exception (`!`), and its regular expression."""
    excepts, pattern = line.startswith("!"), line.removeprefix("!").strip()
    if not pattern:
        raise ValueError('a pattern is only "!"')
    pattern = posixpath.normpath(pattern)
    if len(pattern) > 1:
        pattern = pattern.lstrip("/") or "/"
    try:
        return excepts, re.compile(_expression(pattern), re.DOTALL)
    except re.error as error:
        raise ValueError(f"the pattern {line!r} is malformed: {error}") from error


def _expression(pattern: str) -> str:
    """`*` and `?` do not match `/`, `**` matches any number of folders, `[…]` is a set, a backslash escapes."""
    parts, at = list[str](), 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character == "*" and pattern.startswith("*", at):
            at += 1
            if pattern.startswith("/", at):
                at += 1
            parts.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif character == "*":
            parts.append("[^/]*")
        elif character == "?":
            parts.append("[^/]")
        elif character == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        else:
            parts.append(character if character in "[]^-" else re.escape(character))
    return "".join(parts)
