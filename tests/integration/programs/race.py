"""Decode every Struct type of a program in eight threads at once.

`python -m tests.integration.programs.race MODULE [unprepared]`

MODULE, the program's main module, is imported, and the types are prepared as `swell.serve.run` does; with `unprepared`
they are not. Then the other modules of its package are imported, as the program may do later. Prints the number of
types. A type that was used for the first time by several threads ends the process with SIGSEGV.
"""

import importlib
import pkgutil
import sys
import threading
from contextlib import suppress
from typing import Any

import msgspec

from swell import codecs

THREADS = 8
PROGRAMS = (
    "builder.__main__",
    "builder.once",
    "gateway.__main__",
    "metrics.__main__",
    "registry_proxy.__main__",
    "scanner.__main__",
    "swell_embedded.__main__",
)

_COMMANDS = (
    "builder.run_build.",
    "gateway.audit.__main__.",
    "gateway.commands.",
    "gateway.encryption.",
    "gateway.keys.",
    "gateway.remove_organisation.",
    "gateway.wave_import.",
)
"""Other programs of the package, with all modules below them."""


def main(program: str, *, is_prepared: bool) -> None:
    """Race all types of *program*."""
    importlib.import_module(program)
    if is_prepared:
        codecs.prepare()
    package, _, name = program.partition(".")
    if name == "__main__":
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name not in PROGRAMS and not f"{module.name}.".startswith(_COMMANDS):
                importlib.import_module(module.name)
    if is_prepared and (missing := codecs.unprepared()):
        sys.exit(f"imported after the start without a call of codecs.prepare: {missing}")
    race(types())
    print(len(types()))  # noqa: T201


def types() -> list[type[msgspec.Struct]]:
    """Every Struct type, a subclass before its bases' other subclasses."""
    found: dict[type[msgspec.Struct], None] = {}
    left = list(msgspec.Struct.__subclasses__())
    while left:
        kind = left.pop()
        found[kind] = None
        left += kind.__subclasses__()
    return list(found)


def race(kinds: list[type[msgspec.Struct]]) -> None:
    """Decode each of *kinds*, in *THREADS* threads that begin at the same time."""
    sys.setswitchinterval(0.0001)
    barrier = threading.Barrier(THREADS)
    samples = [(kind, [{}, *({name: None} for name in kind.__struct_encode_fields__)]) for kind in kinds]

    def work() -> None:
        for kind, values in samples:
            barrier.wait()
            for value in values:
                with suppress(msgspec.ValidationError, TypeError):  # a null that the field does not allow
                    decode(value, kind)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def decode(value: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    """Read *value* as *kind*, from JSON and from plain values."""
    msgspec.json.decode(msgspec.json.encode(value), type=kind)
    msgspec.convert(value, kind)


if __name__ == "__main__":
    main(sys.argv[1], is_prepared="unprepared" not in sys.argv)
