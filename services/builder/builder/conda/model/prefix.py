"""Prefixes: packages are built in a folder with a very long name, which becomes that of the image.

Source: conda's package format, "info/paths.json", `prefix_placeholder` and `file_mode`.
"""

import re
from typing import Literal

PREFIX = "opt/conda"
"""Where packages are in the image, without the slash at its beginning, as tar files have it."""

FileMode = Literal["text", "binary"]


def with_prefix(content: bytes, placeholder: str, mode: FileMode, prefix: str = f"/{PREFIX}") -> bytes:
    """*content* with *prefix* in the place of *placeholder*.

    A program keeps its length, and its strings their beginnings: what gets shorter is filled up with NULs at its end.

    Raises:
        ValueError: *prefix* is too long for a program made with *placeholder*.
    """
    old, new = placeholder.encode(), prefix.encode()
    if mode == "text":
        return content.replace(old, new)
    if len(new) > len(old):
        raise ValueError(f"the prefix {prefix} is longer than the one that the program was made for")

    def shortened(found: re.Match[bytes]) -> bytes:
        return found[0].replace(old, new).ljust(len(found[0]), b"\0")

    return re.sub(re.escape(old) + rb"[^\0]*", shortened, content)
