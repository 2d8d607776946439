"""Parts of recipes. A client's text is always quoted as one word of one command."""

import re
import shlex
from collections.abc import Iterable

from swell.recipes.lines import join_lines

LOCK_START, LOCK_END = ">> CONDA_LOCK_START", "<< CONDA_LOCK_END"


def quote(text: str) -> str:
    """Quote *text*, which has no line breaks, as one word of a shell.

    `{{` is split: Apptainer expands variables in double braces.
    """
    return re.sub(r"\{(?=\{)", "{''", shlex.quote(text))


def quote_words(*texts: str) -> str:
    """Quote *texts* as words of a shell command."""
    return " ".join(quote(text) for text in texts)


MERGE_STREAMS = "exec 2>&1"
"""The first command of a chain that prints a lock file: engines copy two streams separately and mix their lines."""


def chain(*commands: str | None) -> str:
    """Join *commands* with `&&`; the first one that fails ends the chain. None entries are left out."""
    return " \\\n && ".join(command for command in commands if command)


def print_lock(path: str) -> str:
    """A command that prints the lock file *path* between two marks, by which it is extracted from the log."""
    return chain(f"echo '{LOCK_START}'", f"cat {path}", f"echo '{LOCK_END}'")


def definition(
    image: str, *, post: str, environment: str, files: Iterable[str] = (), commands: Iterable[str] = ()
) -> str:
    """An Apptainer definition file with the base image *image*; *files* are lines `SOURCE DESTINATION`."""
    extra_post = "\n".join(commands)
    return join_lines(
        f"BootStrap: docker\nFrom: {image}",
        _section("files", "\n".join(files)),
        _section("post", post),
        _section("environment", environment),
        _section("post", extra_post),
    )


def _section(name: str, body: str) -> str | None:
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return f"%{name}\n{indented}" if body else None
