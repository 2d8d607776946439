"""A program of the stack as a plain value: its command and its readiness probe."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import Struct

Probe = Callable[[], Awaitable[None]]


class Program(Struct, frozen=True, kw_only=True):
    """Run *command* with *environment* as its whole environment.

    *ready* returns when the program is ready, and raises OSError or Unavailable before. *ports* are its listening
    ports; *tools* the commands that must be on the PATH; *needs* the programs that must be ready first; *grace* the
    seconds between SIGTERM and SIGKILL; *leaves* the files to remove after it ends. With *as_root*, it runs as root,
    otherwise as the owner of the stack.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    ready: Probe
    ports: tuple[int, ...] = ()
    tools: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    grace: float = 10.0
    leaves: tuple[Path, ...] = ()
    as_root: bool = False
