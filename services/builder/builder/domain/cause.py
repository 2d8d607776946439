"""Why a step failed, in the words of its program: the end of its output as one line of text.

A client shows the text beside the name of the step, so that a user need not open the log.
"""

import re
from collections.abc import Iterator, Sequence

LONGEST = 600  # characters
UNSOLVABLE = "The packages cannot be installed together"
"""As the solver of `conda/direct` says it."""

_ELLIPSIS = "…"
_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_])")
_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_FRAME = re.compile(r"[\u2500-\u257f\u25b6\u2717\u00d7]+")  # trees and marks that solvers and compilers draw
_MICROMAMBA = re.compile(r"Could not solve for environment specs$")
_MICROMAMBA_END = re.compile(r"critical libmamba\b")
_INTRODUCTION = re.compile(r"The following packages? (?:could not be installed|are incompatible)$")
_PIXI = re.compile(r"Cannot solve the request because of: ?(?P<why>.*)$")


def with_cause(message: str, output: str) -> str:
    """Return *message*, a sentence, with the cause in *output*, the last lines of a step; secrets must be masked.

    At most 600 characters of the output are used, and no word or URL is cut.
    """
    lines = list(_lines(output))
    if explanation := _solver_explanation(lines):
        return f"{UNSOLVABLE}: {shorten(explanation, LONGEST)}"
    cause = _last(lines, LONGEST) if lines else ""
    return f"{message.rstrip('.')}: {cause}" if cause else message


def shorten(text: str, longest: int = 300) -> str:
    """Return the beginning of *text*: at most *longest* characters, without a part of a word."""
    if len(text) <= longest:
        return text
    beginning = text[: longest - 1]
    if not text[longest - 1].isspace():
        beginning = beginning[: max(beginning.rfind(" "), beginning.rfind("\n"), 0)]
    return beginning.rstrip() + _ELLIPSIS


def _lines(output: str) -> Iterator[str]:
    """Yield the lines of *output* that have text, as a terminal shows them, without colours and frames."""
    before = ""
    for line in output.split("\n"):
        shown = _ESCAPE.sub("", line).rstrip("\r").rpartition("\r")[2]  # a progress bar writes its line again
        text = " ".join(_FRAME.sub(" ", _INVISIBLE.sub(" ", shown)).split())
        if text and text != before:
            yield text
            before = text


def _last(lines: Sequence[str], longest: int) -> str:
    """Join the last *lines* that fit; of a longer last line, return the end."""
    text = ""
    for line in reversed(lines):
        joined = _join(line, text) if text else line
        if len(joined) > longest:
            break
        text = joined
    return text or _end_of(lines[-1], longest)


def _join(first: str, second: str) -> str:
    return f"{first}{' ' if first[-1] in ',:;.!' else '; '}{second}"


def _end_of(line: str, longest: int) -> str:
    """Return the end of *line*, without a part of a word; empty if its last word is longer."""
    end = line[1 - longest :]
    if not line[-longest].isspace():
        end = end.partition(" ")[2]
    return end and _ELLIPSIS + end


def _solver_explanation(lines: Sequence[str]) -> str:
    """Return what micromamba or pixi says about packages that cannot be installed together; empty if they do not.

    Source: mamba, "Could not solve for environment specs",
    https://mamba.readthedocs.io/en/latest/user_guide/troubleshooting.html
    Source: rattler, crates/rattler_solve (`SolveError::Unsolvable`), https://github.com/conda/rattler
    """
    for index in reversed(range(len(lines))):
        if match := _PIXI.search(lines[index]):
            return " ".join(filter(None, (match["why"], *lines[index + 1 :])))
        if _MICROMAMBA.search(lines[index]) and not _MICROMAMBA_END.match(lines[index]):
            return " ".join(_until_end(lines[index + 1 :]))
    return ""


def _until_end(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if _MICROMAMBA_END.match(line):
            return
        if not _INTRODUCTION.search(line):
            yield line
