"""Mutation test: change a module in one small way, run its tests, and report the changes that no test notices.

`make mutants` runs this over the security modules, for at most ten minutes. One module, and more time:
`python -m tools.mutants --minutes 60 libs/swell/swell/net/addresses.py`.

Why not a published tool? mutmut 3.8 takes a module's name from its path, so it finds no test in a workspace of several
packages; it also leaves constants outside functions alone, such as the table of forbidden networks. cosmic-ray 8.7
rewrites files in place and starts an interpreter for each mutant, about 3 s each here. mutatest needs coverage below 6.
Here each mutant is a forked process that has the libraries loaded already; only its own copy of the module differs.
"""

import argparse
import ast
import copy
import importlib.util
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

_NET = (
    "tests/unit/net/test_guard.py",
    "tests/unit/net/test_redirects.py",
    "tests/unit/net/test_outbound.py",
    "tests/integration/registry_proxy/registries/test_guard.py",
    "tests/integration/registry_proxy/registries/test_proxies.py",
    "tests/integration/registry_proxy/deliver/test_isolation.py",
)
MODULES: dict[str, tuple[str, ...]] = {
    "libs/swell/swell/net/addresses.py": ("tests/unit/net/test_outbound.py", "tests/unit/net/test_addresses.py"),
    "libs/swell/swell/net/bodies.py": _NET,
    "libs/swell/swell/net/failures.py": _NET,
    "libs/swell/swell/net/guard.py": _NET,
    "libs/swell/swell/net/outbound.py": _NET,
    "libs/swell/swell/net/reach.py": _NET,
    "libs/swell/swell/oci/digest.py": ("tests/unit/oci/test_digest.py",),
    "libs/swell/swell/registry/challenge.py": ("tests/unit/registry/test_challenge.py",),
    "libs/swell/swell/registry/credentials/keyring.py": ("tests/unit/registry/test_credentials.py",),
    "libs/swell/swell/registry/verifier.py": ("tests/unit/registry/test_verifier.py",),
    "services/builder/builder/build.py": ("tests/unit/builder/test_build.py",),
    "services/gateway/gateway/adapters/access/api_keys.py": ("tests/unit/gateway/access/test_authenticator.py",),
    "services/gateway/gateway/domain/token.py": ("tests/unit/gateway/test_token.py",),
    "services/registry-proxy/registry_proxy/domain/link.py": ("tests/unit/registry_proxy/test_link.py",),
}
"""Each module with the tests that have to notice when it is wrong."""

LIBRARIES = ("aiohttp", "hypothesis", "litestar", "msgspec", "pytest", "structlog", "yarl")
"""Imported once, before the processes are forked; none of them starts a thread."""

REWRITTEN = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
PYTEST = (
    "-q",
    "-x",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:schemathesis",
    "-p",
    "no:faker",
    "-p",
    "no:xdist",
    "-W",
    REWRITTEN,
)
OPPOSITES: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.GtE, ast.LtE),
    ast.LtE: (ast.Gt, ast.Lt),
    ast.Gt: (ast.LtE, ast.GtE),
    ast.GtE: (ast.Lt, ast.Gt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.LShift: ast.RShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}


@dataclass(frozen=True, eq=False)
class Mutant:
    """The module at *path*, with *replacement* in place of the node at position *index* of `ast.walk`."""

    path: str
    index: int
    replacement: ast.AST
    line: int
    change: str

    def tree(self) -> ast.Module:
        """The whole module, changed."""
        tree = ast.parse(Path(self.path).read_text())
        target = next(node for at, node in enumerate(ast.walk(tree)) if at == self.index)
        for parent in ast.walk(tree):
            for field, value in ast.iter_fields(parent):
                if value is target:
                    setattr(parent, field, self.replacement)
                elif isinstance(value, list) and any(child is target for child in value):
                    value[:] = [self.replacement if child is target else child for child in value]
        return ast.fix_missing_locations(tree)


def mutants_of(path: str) -> list[Mutant]:
    """All mutants of the module at *path*. Docstrings, annotations, imports, exports, error messages and logs stay."""
    tree = ast.parse(Path(path).read_text())
    ignored = {id(inner) for node in ast.walk(tree) for root in _ignored(node) for inner in ast.walk(root)}
    return [
        Mutant(path, index, replacement, getattr(node, "lineno", 0), change)
        for index, node in enumerate(ast.walk(tree))
        if id(node) not in ignored
        for replacement, change in _changes(node)
    ]


def _ignored(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.FunctionDef(name="__repr__"):
            yield node
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from node.decorator_list
            yield from filter(None, [node.returns])
        case ast.arg(annotation=annotation) if annotation:
            yield annotation
        case ast.AnnAssign():
            yield node.annotation
        case ast.Assign(targets=[ast.Name(id="__all__")]):
            yield node
        case ast.Raise(exc=ast.Call() as call):
            yield call
        case ast.Call(func=ast.Name(id="NewType"), args=[name, *_]):
            yield name
        case ast.Expr(value=ast.Constant()):
            yield node
        case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id="log")))):
            yield node
        case ast.ClassDef(bases=bases) if any(ast.unparse(base) == "Protocol" for base in bases):
            yield node
        case ast.ClassDef():  # frozen=True and the like
            yield from node.keywords
        case ast.Import() | ast.ImportFrom():
            yield node


def _changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:  # noqa: PLR0912
    """The replacements of *node*, each with its description."""
    new: ast.AST
    match node:
        case ast.Compare(ops=[op]):
            for other in OPPOSITES[type(op)]:
                new = ast.Compare(node.left, [other()], node.comparators)
                yield new, f"{ast.unparse(node)}  ->  {ast.unparse(new)}"
        case ast.BoolOp(values=values):
            other_op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            new = ast.BoolOp(other_op, values)
            yield new, f"{ast.unparse(node)}  ->  {ast.unparse(new)}"
            for at, value in enumerate(values):
                rest = values[:at] + values[at + 1 :]
                new = rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
                yield new, f"{ast.unparse(node)}  ->  without {ast.unparse(value)}"
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand, f"{ast.unparse(node)}  ->  {ast.unparse(node.operand)}"
        case ast.BinOp(op=operator) if type(operator) in OPERATORS:
            new = ast.BinOp(node.left, OPERATORS[type(operator)](), node.right)
            yield new, f"{ast.unparse(node)}  ->  {ast.unparse(new)}"
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value), f"{value}  ->  {not value}"
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1), f"{value}  ->  {value + 1}"
            yield ast.Constant(value - 1), f"{value}  ->  {value - 1}"
        case ast.Constant(value=str() as value):
            yield ast.Constant(value + "!"), f"{value!r}  ->  {value + '!'!r}"
        case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements) if (
            len(elements) > 1 and all(isinstance(e, ast.Constant | ast.Attribute | ast.Name) for e in elements)
        ) and not (isinstance(node, ast.Tuple | ast.List) and isinstance(node.ctx, ast.Store)):
            for at, element in enumerate(elements):
                new = copy.copy(node)
                new.elts = elements[:at] + elements[at + 1 :]
                yield new, f"without {ast.unparse(element)}"
        case ast.If():
            for fixed in (True, False):
                new = copy.copy(node)
                new.test = ast.Constant(fixed)
                yield new, f"if {ast.unparse(node.test)}  ->  if {fixed}"
        case ast.IfExp():
            yield node.body, f"{ast.unparse(node)}  ->  {ast.unparse(node.body)}"
            yield node.orelse, f"{ast.unparse(node)}  ->  {ast.unparse(node.orelse)}"
        case ast.comprehension(ifs=[_]):
            new = copy.copy(node)
            new.ifs = []
            yield new, f"without if {ast.unparse(node.ifs[0])}"
        case ast.Raise() | ast.AugAssign() | ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass(), f"without {ast.unparse(node).splitlines()[0]}"
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None)), f"return {ast.unparse(value)}  ->  return None"


class _MutatedLoader(SourceFileLoader):
    def __init__(self, name: str, path: str, tree: ast.Module) -> None:
        super().__init__(name, path)
        self._tree = tree

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002
        return compile(self._tree, self.path, "exec", dont_inherit=True)


class _Finder(PathFinder):
    """Loads the module at `mutant.path` changed, everything else as usual."""

    mutant: Mutant

    @classmethod
    def find_spec(
        cls, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = super().find_spec(fullname, path, target)
        if spec is None or spec.origin is None or Path(spec.origin) != Path(cls.mutant.path).resolve():
            return None
        loader = _MutatedLoader(fullname, spec.origin, cls.mutant.tree())
        return importlib.util.spec_from_file_location(fullname, spec.origin, loader=loader)


def start(tests: Sequence[str], mutant: Mutant | None, output: Path) -> int:
    """Fork a process that runs *tests* with *mutant* in place; returns its id. Exit status 0: every test passed."""
    if pid := os.fork():
        return pid
    status = 70
    try:
        os.setsid()
        with output.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        if mutant:
            _Finder.mutant = mutant
            sys.meta_path.insert(0, _Finder)
        import pytest  # noqa: PLC0415

        status = int(pytest.main([*PYTEST, *tests]))
    except BaseException:  # noqa: BLE001  nothing of this process may run on in the parent's code
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


@dataclass
class _Run:
    mutant: Mutant
    deadline: float
    output: Path


def baseline(path: str, folder: Path) -> float:
    """Run the tests of *path* without a mutant; return the seconds that they take."""
    started = time.monotonic()
    output = folder / "baseline"
    _, status = os.waitpid(start(existing(path), None, output), 0)
    if status:
        sys.exit(f"the tests of {path} fail without any change:\n{output.read_text(errors='replace')[-4000:]}")
    return time.monotonic() - started


def existing(path: str) -> list[str]:
    """The tests of *path* that are there."""
    return [test for test in MODULES[path] if Path(test).exists()]


def run(
    mutants: Sequence[Mutant], limits: dict[str, float], until: float, folder: Path, workers: int
) -> dict[Mutant, bool]:
    """Run *mutants*, several at a time, until the monotonic clock is at *until*; return which ones a test noticed."""
    waiting, running, noticed = list(reversed(mutants)), dict[int, _Run](), dict[Mutant, bool]()
    while running or (waiting and time.monotonic() < until):
        while waiting and len(running) < workers and time.monotonic() < until:
            mutant = waiting.pop()
            output = folder / f"{len(waiting)}"
            pid = start(existing(mutant.path), mutant, output)
            running[pid] = _Run(mutant, time.monotonic() + limits[mutant.path], output)
        for pid, current in list(running.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            late = time.monotonic() > current.deadline
            if not done and late:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            if done or late:
                del running[pid]
                noticed[current.mutant] = late or status != 0
                current.output.unlink(missing_ok=True)
        time.sleep(0.01)
    return noticed


def main() -> None:
    parser = argparse.ArgumentParser(description="Change modules in small ways and see whether a test fails.")
    parser.add_argument("modules", nargs="*", default=list(MODULES), help="paths; default: all security modules")
    parser.add_argument("--minutes", type=float, default=10, help="stop after this time; the order is random")
    parser.add_argument("--seed", type=int, default=0, help="of the order")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    until = time.monotonic() + 60 * arguments.minutes
    for library in LIBRARIES:
        importlib.import_module(library)
    with tempfile.TemporaryDirectory(prefix="swell-mutants-") as name:
        folder = Path(name)
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = str(folder / "hypothesis")
        limits = {path: 10 + 5 * baseline(path, folder) for path in arguments.modules}
        mutants = [mutant for path in arguments.modules for mutant in mutants_of(path)]
        random.Random(arguments.seed).shuffle(mutants)  # noqa: S311
        noticed = run(mutants, limits, until, folder, arguments.workers)
    report(arguments.modules, mutants, noticed)


def report(paths: Sequence[str], mutants: Sequence[Mutant], noticed: dict[Mutant, bool]) -> None:
    """Print the mutants that no test noticed, and the share that was noticed."""
    for mutant in sorted((m for m, killed in noticed.items() if not killed), key=lambda m: (m.path, m.line)):
        print(f"{mutant.path}:{mutant.line}: {mutant.change}")
    print(f"\n{'module':58} {'mutants':>7} {'run':>5} {'noticed':>8} {'score':>6}")
    for label, chosen in [*((path, [path]) for path in paths), ("all", paths)]:
        total = sum(mutant.path in chosen for mutant in mutants)
        results = [killed for mutant, killed in noticed.items() if mutant.path in chosen]
        score = f"{100 * sum(results) / len(results):.0f} %" if results else "-"
        print(f"{label:58} {total:7} {len(results):5} {sum(results):8} {score:>6}")


if __name__ == "__main__":
    main()
