"""Expansion: replace the variables in a text with their values."""

import re
from collections.abc import Iterator, Mapping

from swell.containerfile.limits import MAX_DEPTH, MAX_MATCHED, MAX_PATTERN, MAX_STEPS, MAX_VALUE, MAX_VALUES

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?$!-]")


class ExpansionError(Exception):
    """A text is malformed or exceeds a limit; the message says which."""


class Budget:
    """The characters and comparisons that a file may still use."""

    def __init__(self) -> None:
        self.characters = MAX_VALUES
        self.steps = MAX_STEPS

    def compare(self, steps: int) -> None:
        self.steps -= steps
        if self.steps < 0:
            raise ExpansionError("the patterns in its variables need too many comparisons")


class Expansion:
    """Replaces the variables of a text by their values and removes its quotes, from left to right.

    Supports `$x`, `${x}`, and with `:-`, `:+`, `:?`, `-`, `+`, `?`, `#`, `##`, `%`, `%%`, `/` and `//`.
    """

    def __init__(self, text: str, values: Mapping[str, str | None], escape: str, budget: Budget) -> None:
        self.names: set[str] = set()
        """The names of the variables that the text uses."""
        self._text = text
        self._values = values
        self._escape = escape
        self._budget = budget
        self._at = 0

    def run(self) -> str:
        """Return the expanded text.

        Raises:
            ExpansionError: the text is malformed or exceeds a limit.
        """
        if "$" in self._text and len(self._text) > MAX_VALUE:
            raise ExpansionError(f"a value has more than {MAX_VALUE} characters")
        return self._until("", 0)

    def _until(self, stops: str, depth: int, *, quoted: bool = False) -> str:
        """Expand the text up to one of the characters *stops*, which is consumed."""
        if depth > MAX_DEPTH:
            raise ExpansionError(f"variables are nested more than {MAX_DEPTH} deep")
        parts: list[str] = []
        size = 0
        while self._at < len(self._text):
            char = self._text[self._at]
            if stops and char in stops:
                self._at += 1
                return "".join(parts)
            parts.append(self._next(char, depth, quoted))
            size += len(parts[-1])
            if size > MAX_VALUE:
                raise ExpansionError(f"a value has more than {MAX_VALUE} characters")
        if stops:
            raise ExpansionError(f"a {stops!r} is missing")
        return "".join(parts)

    def _next(self, char: str, depth: int, quoted: bool) -> str:
        self._at += 1
        if char == self._escape:
            following = self._text[self._at : self._at + 1]
            if quoted and following not in {'"', "$", self._escape}:
                return char
            self._at += 1
            return following
        if char == "$":
            return self._variable(depth)
        if char == "'" and not quoted:
            end = self._text.find("'", self._at)
            if end < 0:
                raise ExpansionError("a ' is missing")
            start, self._at = self._at, end + 1
            return self._text[start:end]
        if char == '"' and not quoted:
            return self._until('"', depth + 1, quoted=True)
        return char

    def _variable(self, depth: int) -> str:
        if not self._text.startswith("{", self._at):
            match = _NAME.match(self._text, self._at)
            if match is None:
                return "$"
            self._at = match.end()
            return self._value(match[0]) or ""
        match = _NAME.match(self._text, self._at + 1)
        if match is None:
            raise ExpansionError("a ${ has no name")
        self._at = match.end()
        return self._modified(match[0], depth)

    def _value(self, name: str) -> str | None:
        self.names.add(name)
        return self._values.get(name)

    def _modified(self, name: str, depth: int) -> str:
        operator = self._operator()
        if operator == "}":
            return self._value(name) or ""
        value = self._value(name)
        if operator in {"/", "//"}:
            pattern = self._pattern("/", depth)
            replacement = self._pattern("}", depth)
            if not pattern or "$" in replacement:
                raise ExpansionError("a ${ replaces nothing, or with a $")
            return self._replaced(value or "", pattern, replacement, every=operator == "//")
        word = self._pattern("}", depth) if operator[-1] in "#%" else self._until("}", depth + 1)
        is_set = bool(value) if operator.startswith(":") else value is not None
        match operator[-1]:
            case "-":
                return (value or "") if is_set else word
            case "+":
                return word if is_set else ""
            case "?":
                if not is_set:
                    raise ExpansionError(f"{name}: {word or 'has no value'}")
                return value or ""
            case "#":
                return self._trimmed(value or "", word, longest=operator == "##")
        return self._trimmed((value or "")[::-1], word[::-1], longest=operator == "%%")[::-1]

    def _pattern(self, stop: str, depth: int) -> str:
        """Expand a pattern, or the replacement of its match, up to *stop*.

        Engines disagree about quotes and escapes in patterns, so both are refused.
        """
        start = self._at
        expanded = self._until(stop, depth + 1)
        if set(self._text[start : self._at] + expanded) & {"'", '"', "\\", self._escape}:
            raise ExpansionError("a pattern or its replacement has a quote or an escape")
        return expanded

    def _operator(self) -> str:
        for operator in ("}", ":-", ":+", ":?", "-", "+", "?", "##", "#", "%%", "%", "//", "/"):
            if self._text.startswith(operator, self._at):
                self._at += len(operator)
                return operator
        raise ExpansionError("a ${ is malformed")

    def _trimmed(self, value: str, pattern: str, *, longest: bool) -> str:
        """Return *value* without the prefix that *pattern* matches; `*` and `?` are wildcards."""
        ends = list(self._ends(value, pattern, 0))
        return value[(max(ends) if longest else min(ends)) :] if ends else value

    def _replaced(self, value: str, pattern: str, replacement: str, *, every: bool) -> str:
        """Return *value* with the longest matches of *pattern* replaced: all, or only the first."""
        if not value and not pattern.strip("*"):
            return replacement
        if not set(pattern) & set("*?"):
            self._budget.compare(len(value))
            replaced = value.replace(pattern, replacement, -1 if every else 1)
            if len(replaced) > MAX_VALUE:
                raise ExpansionError(f"a value has more than {MAX_VALUE} characters")
            return replaced
        parts: list[str] = []
        at = 0
        while at < len(value):
            ends = [end for end in self._ends(value, pattern, at) if end > at]
            if not ends:
                parts.append(value[at])
                at += 1
                continue
            parts.append(replacement)
            at = max(ends)
            if not every:
                break
        return "".join(parts) + value[at:]

    def _ends(self, value: str, pattern: str, start: int) -> Iterator[int]:
        """Yield the ends of the matches of *pattern* that begin at *start*."""
        if len(pattern) > MAX_PATTERN or len(value) > MAX_MATCHED:
            raise ExpansionError(
                f"a pattern has more than {MAX_PATTERN} characters, or a value more than {MAX_MATCHED}"
            )
        self._budget.compare((len(pattern) + 1) * (len(value) - start + 1))
        states = _closed({0}, pattern)
        for at in range(start, len(value) + 1):
            if len(pattern) in states:
                yield at
            if at == len(value) or not states:
                return
            char = value[at]
            moved = {
                state if pattern[state] == "*" else state + 1
                for state in states
                if state < len(pattern) and pattern[state] in {"*", "?", char}
            }
            states = _closed(moved, pattern)


def _closed(states: set[int], pattern: str) -> set[int]:
    """Return *states* and the states after each `*`, which can match nothing."""
    closed = set(states)
    for state in sorted(states):
        at = state
        while at < len(pattern) and pattern[at] == "*":
            at += 1
            closed.add(at)
    return closed
