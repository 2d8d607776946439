"""What templates are put together from: a text stays one word of one command, whatever it says."""

import re
import shlex
from collections.abc import Iterable

from gateway.domain.definition import lines

LOCK_START, LOCK_END = ">> CONDA_LOCK_START", "<< CONDA_LOCK_END"


def quoted(text: str) -> str:
    """*text*, which has no line breaks, as one word of a shell.

    `{{` is broken up as well: Apptainer fills in what stands in double braces.
    """
    return re.sub(r"\{(?=\{)", "{''", shlex.quote(text))


def words(*texts: str) -> str:
    """*texts* as words of a shell's command."""
    return " ".join(quoted(text) for text in texts)


ONE_STREAM = "exec 2>&1"
"""Begins a chain that shows a lock: engines copy two streams each at its own pace, and would mix them."""


def chain(*commands: str | None) -> str:
    """One command that does *commands* in turn, up to the first that fails; None is nothing to do."""
    return " \\\n && ".join(command for command in commands if command)


def shown_lock(path: str) -> str:
    """A command that prints the lock file *path* between the marks where it is later cut out of the log."""
    return chain(f"echo '{LOCK_START}'", f"cat {path}", f"echo '{LOCK_END}'")


def definition(
    image: str, *, post: str, environment: str, files: Iterable[str] = (), commands: Iterable[str] = ()
) -> str:
    """An Apptainer definition file that begins from *image*; *files* are lines `SOURCE DESTINATION`."""
    more = "\n".join(commands)
    return lines(
        f"BootStrap: docker\nFrom: {image}",
        _section("files", "\n".join(files)),
        _section("post", post),
        _section("environment", environment),
        _section("post", more),
    )


def _section(name: str, body: str) -> str | None:
    indented = "\n".join(f"    {line}" for line in body.splitlines())
    return f"%{name}\n{indented}" if body else None
