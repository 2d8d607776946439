"""A program of the stack as a plain value: how it is started, and how one sees that it is there."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import Struct

Probe = Callable[[], Awaitable[None]]


class Program(Struct, frozen=True, kw_only=True):
    """Run *command* with *environment* as its whole environment.

    *ready* returns when the program can be used and raises OSError or Unavailable while it cannot. *ports* are what it
    listens on; *tools* the commands that must be on the PATH; *needs* the programs that must be ready before it starts;
    *grace* the seconds between SIGTERM and SIGKILL; *leaves* the files that it forgets to remove.
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
