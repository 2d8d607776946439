"""Load: wrk keeps 16 connections busy for some seconds, in one thread."""

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

from tests.bench.process import CannotMeasure, run

CONNECTIONS = 16
SECONDS = 3
_SCRIPT = Path(__file__).with_name("load.lua")


class Load(Struct, frozen=True):
    """The result of wrk for complete responses; `p50`, `p99` and `p999` (99.9 %) in microseconds."""

    requests: int
    microseconds: int
    p50: int
    p99: int
    p999: int
    errors: int

    @property
    def per_second(self) -> float:
        return self.requests * 1e6 / self.microseconds


async def load(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    post: Path | None = None,
    seconds: int = SECONDS,
    connections: int = CONNECTIONS,
    cores: Collection[int] = (),
) -> Load:
    """GET *url*, or POST the JSON file *post* to it, for *seconds*; wrk runs on *cores*, or on any.

    Raises:
        CannotMeasure: a response was an error, or none arrived.
    """
    fields = [f"-H{name}: {value}" for name, value in (headers or {}).items()]
    pinned = ["taskset", "--cpu-list", ",".join(map(str, cores))] if cores else []
    command = [*pinned, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=5s", f"-s{_SCRIPT}", *fields, url]
    output = await run(*command, *(["--", str(post)] if post else []), within=seconds + 20)
    seen = msgspec.json.decode(output.splitlines()[-1], type=Load)
    if seen.errors or not seen.requests:
        raise CannotMeasure(f"{seen.errors} of {seen.requests} answers of {url} were errors")
    return seen
