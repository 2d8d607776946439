"""Programs on a terminal: their output as a person sees it, and keys that are pressed."""

import asyncio
import os
import pty
import re
import subprocess
from collections.abc import Sequence
from typing import Self

DEADLINE = 120.0
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """*command* on a pseudo-terminal; `text` is all output so far, without control sequences."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._output = b""
        self._main, other = pty.openpty()
        default = ("env", "--default-signal=INT")  # a shell that starts the tests in the background ignores it
        alone = (*default, "setsid", "--ctty", "--wait", *command)  # Ctrl-C becomes a signal
        self._process = subprocess.Popen(alone, stdin=other, stdout=other, stderr=other, env=environment)
        os.close(other)
        os.set_blocking(self._main, False)

    @property
    def text(self) -> str:
        return _CONTROL.sub("", self._output.decode(errors="replace"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._main)

    def press(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    async def interrupt(self, text: str) -> None:
        """Press Ctrl-C once, and wait for *text*."""
        self.press("\x03")
        await self.shows(text)

    async def shows(self, text: str, seconds: float = DEADLINE) -> None:
        """Wait until *text* is in the output."""
        async with asyncio.timeout(seconds):
            while text not in self.text:
                assert self._read() or self._process.poll() is None, self.text
                await asyncio.sleep(0.02)

    async def ended(self) -> int:
        """Wait for the end, and return the exit code."""
        async with asyncio.timeout(DEADLINE):
            while self._process.poll() is None:
                self._read()
                await asyncio.sleep(0.02)
        while self._read():
            pass
        return self._process.returncode

    def _read(self) -> bool:
        try:
            piece = os.read(self._main, 65536)
        except (BlockingIOError, OSError):
            return False
        self._output += piece
        return bool(piece)
