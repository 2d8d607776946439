"""`python compile_imports.py PACKAGE...`: write the bytecode files of the modules that the code of PACKAGEs imports.

Bytecode of everything that is installed would be larger. Without any, each start of a read-only container compiles
again what it imports. Imports in functions are included. An import fails if its module was removed from the image.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path


def imports(path: Path, module: str) -> Iterator[str]:
    """Yield the modules that the file *path*, the source of *module*, imports."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield resolve_name("." * node.level + (node.module or ""), package)


def modules_of(package: str) -> Iterator[str]:
    """Yield the modules of *package*, and those that they import."""
    (folder,) = importlib.import_module(package).__path__
    for path in sorted(Path(folder).rglob("*.py")):
        module = ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")
        yield module
        yield from imports(path, module)


def main() -> None:
    for name in sorted({name for package in sys.argv[1:] for name in modules_of(package)}):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # Some code of `swell` is for another service, and its libraries are not in this image.
            if error.name and find_spec(error.name.partition(".")[0]):
                raise


if __name__ == "__main__":
    main()
