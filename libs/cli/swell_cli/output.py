"""Results on stdout: as a table for people, JSON or YAML for programs, or only a name for scripts."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple, TextIO

import msgspec


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class Result(NamedTuple):
    """A result in all its forms: *fields* for programs, *rows* (the first one has the titles) for people, *name*."""

    fields: Any
    rows: Sequence[Sequence[str]] = ()
    name: str = ""


def show(result: Result, format: Format) -> None:  # noqa: A002 - as the option is named
    """Print *result*."""
    write(text_of(result, format), sys.stdout)


def text_of(result: Result, format: Format) -> str:  # noqa: A002
    match format:
        case Format.JSON:
            return msgspec.json.format(msgspec.json.encode(result.fields), indent=2).decode() + "\n"
        case Format.YAML:
            import yaml  # noqa: PLC0415 - takes time to import

            return yaml.safe_dump(msgspec.to_builtins(result.fields), sort_keys=False, allow_unicode=True)
        case Format.NAME:
            return f"{result.name}\n"
    return table(result.rows or rows_of(result.fields))


def rows_of(fields: Any) -> list[tuple[str, str]]:
    """A row for each member of *fields* that is one value, and for each further line of a text."""
    plain = msgspec.to_builtins(fields)
    values = {name: str(value).splitlines() for name, value in plain.items() if not isinstance(value, dict | list)}
    return [
        ("" if number else name, line) for name, lines in values.items() for number, line in enumerate(lines or [""])
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    """*rows* in aligned columns, without characters that control a terminal."""
    if not rows:
        return ""
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in clean) for column in range(len(clean[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in clean)
    return "\n".join(lines) + "\n"


def printable(text: str) -> str:
    """*text* without control characters: names, titles and log lines are written by strangers."""
    return "".join(character if character.isprintable() or character == "\t" else "\ufffd" for character in text)


def write(text: str, stream: TextIO) -> None:
    """Write *text*, which strangers may have written: on a terminal without control characters, elsewhere as it is."""
    if stream.isatty():
        text = "\n".join(map(printable, text.split("\n")))
    stream.write(text)
    stream.flush()


def size(count: float) -> str:
    """*count* bytes for people, such as `1.5 MiB`."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
