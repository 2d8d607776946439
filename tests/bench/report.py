"""A page about the performance of Swell, from the results of a run: `docs/performance.md`."""

import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.bar import Compared, Result
from tests.bench.table import number

PAGE = Path("docs/performance.md")
_PACKAGES = ("granian", "litestar", "uvloop", "msgspec", "grpcio", "redis")
_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "nginx": ("nginx", "-v"),
    "docker-registry": ("docker-registry", "--version"),
    "buildah": ("buildah", "--version"),
    "wrk": ("wrk", "-v"),
}
_VERSION = re.compile(r"v?\d+(?:\.\d+)+")
_ABOUT = """\
# How fast is Swell?

Each figure is measured beside another program, in one run on one machine, because absolute figures differ between
machines. `ours` and `peer` are medians of at least three rounds; `compared` is their ratio (x), their difference (+),
or ours alone. `must` is what a release has to reach, `aim` what is planned. The load generator uses the same cores.

`make bench` measures all of it and writes this page. `python -m tests.bench NAME …` measures a part, and
`make bench-compare A=v0.2.0 B=HEAD NAMES="tag redirect"` compares two revisions.
`python -m tests.bench.pulls.in_process` has the CPU time of a warm pull in the gateway itself, without a server;
it is steady on a machine with other work.
"""


def report(results: Sequence[Result], when: datetime) -> str:
    """Return the page in Markdown: the machine, the versions, and one row for each of *results*."""
    machine = f"{_cores()}, {_memory()} of memory, Linux {platform.release().partition('-')[0]}"
    names = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in _PACKAGES)]
    programs = [f"{name} {found}" for name, command in _PROGRAMS.items() if (found := _version_of(command))]
    rows = [_row(each) for each in results]
    return "\n".join(
        [
            _ABOUT,
            f"Measured on {when:%Y-%m-%d} with {machine}; {', '.join(names)}; {', '.join(programs)}.",
            "",
            "| figure | peer | ours | peer's | compared | rounds | must | aim | |",
            "|---|---|---|---|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _row(result: Result) -> str:
    bar, sign = result.bar, "≥" if result.bar.at_least else "≤"
    mark = {Compared.RATIO: "{}x", Compared.DIFFERENCE: "+{}", Compared.ALONE: "{}"}[bar.compared]
    peer = "" if result.peer is None else f"{number(result.peer)}"
    cells = (
        f"{bar.name}, {bar.unit}",
        bar.peer,
        number(result.ours),
        peer,
        mark.format(number(result.figure)).replace("+-", "-"),
        f"{number(result.least)} … {number(result.most)}",
        f"{sign} {mark.format(number(bar.must))}",
        f"{sign} {mark.format(number(bar.aim))}",
        str(result.verdict),
    )
    return f"| {' | '.join(cells)} |"


def _cores() -> str:
    text = Path("/proc/cpuinfo").read_text()
    names = re.findall(r"^model name\s*: (.*)$", text, re.MULTILINE)
    return f"{len(names)} cores ({names[0]})" if names else "unknown cores"


def _memory() -> str:
    match = re.search(r"^MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return f"{int(match[1]) / (1 << 20):.0f} GiB" if match else "unknown"


def _version_of(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.SubprocessError):
        return ""
    match = _VERSION.search(done.stdout + done.stderr)
    return match[0].removeprefix("v") if match else ""
