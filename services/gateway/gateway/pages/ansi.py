"""Lines of a log as HTML: colours become classes, other control characters are removed.

Source: ECMA-48, 8.3.117 "SGR", https://ecma-international.org/publications-and-standards/standards/ecma-48/
"""

import re
from collections.abc import Iterator

from markupsafe import Markup, escape

_SGR = re.compile(r"\x1b\[([0-9;:]{0,64})m")
_OTHER = re.compile(r"\x1b(?:\[[0-9;:?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?|[\x00-\x08\x0b-\x1f\x7f]")
_BOLD = 1


def as_html(text: str) -> Markup:
    """*text* with its colours as spans of the classes `c0` to `c15` and `bold`; each line begins without a colour."""
    return Markup("\n").join(Markup("").join(_spans(line)) for line in text.split("\n"))


def _spans(line: str) -> Iterator[Markup]:
    colour, is_bold = "", False
    pieces = _SGR.split(line.rpartition("\r")[2] if not line.endswith("\r") else line[:-1].rpartition("\r")[2])
    for index, piece in enumerate(pieces):
        if index % 2:
            colour, is_bold = _after(piece, colour, is_bold)
            continue
        clean = _OTHER.sub("", piece)
        if not clean:
            continue
        classes = " ".join(filter(None, (colour, "bold" if is_bold else "")))
        yield Markup('<span class="{}">{}</span>').format(classes, clean) if classes else escape(clean)


def _after(codes: str, colour: str, is_bold: bool) -> tuple[str, bool]:
    """The colour and the weight after the *codes* of an escape sequence."""
    for code in codes.split(";"):
        number = int(code) if code.isdecimal() else 0
        if number == 0:
            colour, is_bold = "", False
        elif number in {_BOLD, 22}:
            is_bold = number == _BOLD
        elif 30 <= number <= 37:
            colour = f"c{number - 30}"
        elif 90 <= number <= 97:
            colour = f"c{number - 82}"
        elif number == 39:
            colour = ""
        elif number in {38, 48}:  # 256 or more colours: the arguments are not codes
            break
    return colour, is_bold
