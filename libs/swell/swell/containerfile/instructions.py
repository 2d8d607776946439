"""Instructions: their name, flags, words and here-documents."""

import re
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from swell.containerfile.limits import error_at

SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""The characters that Go's `unicode.IsSpace` and `strings.TrimSpace` treat as white space."""
_WORD_END = re.compile(r"[\t\v\f\r ]+")


class Heredoc(Struct, frozen=True):
    """A here-document of an instruction; in `content`, the leading tabs are removed after `<<-`."""

    name: str
    content: str
    expands: bool
    """Variables are expanded in it, because its name is not quoted."""


class Instruction(Struct, frozen=True, kw_only=True):
    """One instruction: `name` in upper case, `flags` as `(name, value)` without quotes, `value` the rest of the text.

    Lines are counted from 1. Continued lines are joined without the escape characters.
    """

    name: str
    value: str
    line: int
    last_line: int
    flags: tuple[tuple[str, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()
    escape: str = "\\"

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """The words of the exec form, `["a", "b"]`; None for the shell form."""
        try:
            return msgspec.json.decode(self.value, type=tuple[str, ...]) if self.value.startswith("[") else None
        except (msgspec.MsgspecError, RecursionError):
            return None

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the shell form, with their quotes and escapes."""
        return tuple(split_words(self.value, self.escape))

    def flag(self, name: str) -> str | None:
        """Return the value of `--name=value`; None when the flag is missing.

        Raises:
            BadRequest: the flag is given twice, which engines read differently.
        """
        values = [value for flag, value in self.flags if flag == name]
        if len(values) > 1:
            raise error_at(self.line, f"{self.name} has the flag --{name} twice")
        return values[0] if values else None

    @property
    def triggered(self) -> "Instruction | None":
        """The instruction inside an ONBUILD, which runs in builds that have this image as their base."""
        if self.name != "ONBUILD":
            return None
        return parse_instruction(self.value, self.line, self.last_line, self.escape, self.heredocs)


def parse_instruction(
    text: str, line: int, last_line: int, escape: str, heredocs: tuple[Heredoc, ...] = ()
) -> Instruction:
    name, *rest = _WORD_END.split(text.strip(SPACE), maxsplit=1)
    name = name.upper() if name.isascii() else name
    flags, value = split_flags(rest[0] if rest else "", escape)
    return Instruction(
        name=name,
        value=value.strip(SPACE),
        line=line,
        last_line=last_line,
        flags=tuple(flags),
        heredocs=heredocs,
        escape=escape,
    )


def split_flags(text: str, escape: str) -> tuple[list[tuple[str, str]], str]:
    """Return the leading `--name=value` words of *text*, without quotes, and the rest."""
    flags: list[tuple[str, str]] = []
    at = 0
    while True:
        while at < len(text) and text[at] in SPACE:
            at += 1
        if not text.startswith("--", at):
            return flags, text[at:]
        quote = ""
        parts: list[str] = []
        while at < len(text) and (quote or text[at] not in SPACE):
            char = text[at]
            at += 1
            if char == escape:
                parts.append(text[at : at + 1])
                at += 1
            elif quote:
                if char == quote:
                    quote = ""
                else:
                    parts.append(char)
            elif char in "'\"":
                quote = char
            else:
                parts.append(char)
        word = "".join(parts)
        if word == "--":
            return flags, text[at:]
        name, _, value = word[2:].partition("=")
        flags.append((name, value))


def split_words(text: str, escape: str) -> Iterator[str]:
    """Split *text* at white space that is neither quoted nor escaped."""
    start, at, quote = 0, 0, ""
    while at < len(text):
        char = text[at]
        if char == escape and quote != "'":
            at += 1
        elif quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in SPACE:
            if at > start:
                yield text[start:at]
            start = at + 1
        at += 1
    if start < len(text):
        yield text[start:]
