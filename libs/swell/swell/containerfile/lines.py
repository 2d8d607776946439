"""Lines: parser directives, continued lines, and the ends of here-documents."""

import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from swell.containerfile.dialects import Dialect
from swell.containerfile.instructions import SPACE, Heredoc, Instruction, split_words
from swell.containerfile.limits import MAX_HEREDOCS, error_at

_GO_SPACE = "\t\n\f\r "
"""What `\\s` is in a pattern of Go; Python's has more."""
_DIRECTIVE = re.compile(rf"([a-zA-Z][a-zA-Z0-9]*)[{_GO_SPACE}]*=(.+)", re.DOTALL)
_OLD_ESCAPE = re.compile(r"#[ \t]*escape[ \t]*=[ \t]*(.)", re.IGNORECASE)
_HEREDOC = re.compile(r"[0-9]*<<(-?)[\t\n\f\r ]*([^<]+)")
_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})


def read_directives(lines: Sequence[str], dialect: Dialect) -> tuple[str, str | None]:
    """Return the escape character and the frontend that the parser directives set.

    Source: `ParseLine`,
    https://github.com/moby/buildkit/blob/v0.34.2/frontend/dockerfile/parser/directives.go
    """
    escape, syntax, seen = "\\", None, set[str]()
    for number, line in enumerate(lines, 1):
        text = line.lstrip(SPACE)
        if not dialect.heredocs:  # the old parser supports one directive, in the first line
            old = _OLD_ESCAPE.match(text.rstrip(SPACE))
            if old is None:
                break
            name, value = "escape", old[1]
        else:
            match = _DIRECTIVE.fullmatch(text[1:].lstrip(SPACE)) if text.startswith("#") else None
            if match is None or match[1].lower() not in {"syntax", "escape", "check"}:
                break
            name, value = match[1].lower(), match[2].strip(_GO_SPACE)  # empty for a blank, which is a value
        if name in seen:
            raise error_at(number, f"only one {name} directive is allowed")
        seen.add(name)
        if name == "escape" and value not in {"\\", "`"}:
            raise error_at(number, "the escape character must be ` or \\")
        escape = value if name == "escape" else escape
        syntax = value if name == "syntax" else syntax
    return escape, syntax


def join_lines(lines: Sequence[str], at: int, escape: str, dialect: Dialect) -> tuple[str, int]:
    """Return the text of the instruction that begins in line *at*, and the index of the line after it."""
    text = lines[at].lstrip(SPACE)
    at += 1
    if text.startswith("#"):
        return "", at
    text, is_continued = _continued(text, escape, dialect)
    parts = [text]
    while is_continued and at < len(lines):
        line = lines[at]
        at += 1
        content = line.lstrip(SPACE)
        if not content or content.startswith("#"):
            continue
        line, is_continued = _continued(line, escape, dialect)
        parts.append(line)
    return "".join(parts), at


def _continued(line: str, escape: str, dialect: Dialect) -> tuple[str, bool]:
    """Return *line* without the escape character at its end, and whether it had one."""
    text = line.rstrip(" \t")
    if not text.endswith(escape) or (dialect.escaped_escape and text[-2:-1] == escape):
        return line, False
    return text[:-1], True


class DelimiterIndex:
    """The lines of a file by their text, to find where here-documents end in constant time."""

    def __init__(self, lines: Sequence[str]) -> None:
        self.lines = lines
        self._whole: dict[str, list[int]] = defaultdict(list)
        self._indented: dict[str, list[int]] = defaultdict(list)
        for number, line in enumerate(lines):
            self._whole[line].append(number)
            self._indented[line.lstrip("\t")].append(number)

    def next(self, delimiter: str, start: int, *, is_indented: bool) -> int | None:
        """Return the first line from *start* that equals *delimiter*; leading tabs are ignored when *is_indented*."""
        numbers = (self._indented if is_indented else self._whole).get(delimiter, [])
        at = bisect_left(numbers, start)
        return numbers[at] if at < len(numbers) else None


def with_heredocs(instruction: Instruction, text: str, ends: DelimiterIndex, at: int) -> tuple[Instruction, int]:
    """Return *instruction* with its here-documents, and the index of the line after them.

    One without an end is ignored: engines that support here-documents refuse the file.
    """
    name = instruction.value.partition(" ")[0].upper() if instruction.name == "ONBUILD" else instruction.name
    if name not in _WITH_HEREDOCS or instruction.arguments is not None:
        return instruction, at
    heredocs: list[Heredoc] = []
    start = at
    for is_indented, raw in _markers(text, instruction.escape):
        if len(heredocs) >= MAX_HEREDOCS:
            raise error_at(instruction.line, f"an instruction has more than {MAX_HEREDOCS} here-documents")
        delimiter = _unquoted(raw)
        end = ends.next(delimiter, start, is_indented=is_indented)
        if end is None:
            return instruction, at
        body = (line.lstrip("\t") if is_indented else line for line in ends.lines[start:end])
        heredocs.append(Heredoc(delimiter, "".join(f"{line}\n" for line in body), expands=delimiter == raw))
        start = end + 1
    if not heredocs:
        return instruction, at
    return msgspec.structs.replace(instruction, heredocs=tuple(heredocs), last_line=start), start


def _markers(text: str, escape: str) -> Iterator[tuple[bool, str]]:
    """Yield each `<<` of *text* outside quotes: whether tabs are removed, and the delimiter as written."""
    for word in split_words(re.sub(r"<<[\t\r ]+", "<<", text), escape):
        if (match := _HEREDOC.fullmatch(word)) and _unquoted(match[2]):
            yield bool(match[1]), match[2]


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)|['\"]", r"\1", text, flags=re.DOTALL)
