"""Prepare msgspec's Struct types before threads use them.

msgspec collects what it needs to decode a Struct type when that type is decoded for the first time. Python code runs
meanwhile, so another thread can meet the half-filled description; the process then ends with SIGSEGV (seen with 0.22).
Afterwards a type is only read, which is safe.

`prepare` builds one decoder of each type, nested types included. `swell.serve.run` calls it before a service starts
any thread. A module that a service imports later calls it at its end.
"""

import threading
from collections.abc import Iterator
from contextlib import suppress
from weakref import WeakSet

import msgspec
from msgspec import Struct

_prepared: WeakSet[type[Struct]] = WeakSet()
_lock = threading.Lock()


def prepare() -> None:
    """Make every existing Struct type safe to decode in any thread; takes about 10 ms for 150 types."""
    with _lock:
        for kind in unprepared():
            with suppress(TypeError, NameError):  # its fields are objects that msgspec cannot decode
                msgspec.json.Decoder(kind)
            _prepared.add(kind)


def unprepared() -> list[type[Struct]]:
    """Return the Struct types that were defined after the last call of `prepare`."""
    return [kind for kind in _below(Struct) if kind not in _prepared]


def _below(kind: type[Struct]) -> Iterator[type[Struct]]:
    for subclass in kind.__subclasses__():
        yield subclass
        yield from _below(subclass)
