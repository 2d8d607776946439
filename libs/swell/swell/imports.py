"""Imports without the optional parts of libraries, which would cost memory in every service."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


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


@contextmanager
def emptied(module: str, *names: str) -> Iterator[None]:
    """Import in the block with an empty module instead of *module*, in which *names* are None, unless it is loaded.

    What needs *names* fails when it runs, not when it is imported.
    """
    if module in sys.modules:
        yield
        return
    empty = ModuleType(module)
    empty.__dict__.update(dict.fromkeys(names))
    sys.modules[module] = empty
    try:
        yield
    finally:
        del sys.modules[module]
