"""Prefixes: packages are built in a folder with a very long placeholder name, which is replaced in the image.

Source: "Conda package specification", `prefix_placeholder` and `file_mode` in `info/paths.json`,
https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html
"""

import re
from typing import Literal

PREFIX = "opt/conda"
"""The folder of packages in the image, without the leading slash, as in tar files."""

FileMode = Literal["text", "binary"]


def with_prefix(content: bytes, placeholder: str, mode: FileMode, prefix: str = f"/{PREFIX}") -> bytes:
    """Return *content* with *placeholder* replaced by *prefix*.

    A program keeps its length, and its strings their beginnings: what gets shorter is filled up with NULs at its end.

    Raises:
        ValueError: *prefix* is too long for a program made with *placeholder*.
    """
    old, new = placeholder.encode(), prefix.encode()
    if mode == "text":
        return content.replace(old, new)
    if len(new) > len(old):
        raise ValueError(f"the prefix {prefix} is longer than the program's placeholder")

    def shortened(found: re.Match[bytes]) -> bytes:
        return found[0].replace(old, new).ljust(len(found[0]), b"\0")

    return re.sub(re.escape(old) + rb"[^\0]*", shortened, content)
