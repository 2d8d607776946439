"""Imports without the optional parts of libraries, which would cost memory in every service."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Import in the block as if *modules* were not installed; those that are loaded already stay.

    A None in the module cache makes an import fail.
    Source: Python, "The module cache", https://docs.python.org/3/reference/import.html#the-module-cache
    """
    hidden = [name for name in modules if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
