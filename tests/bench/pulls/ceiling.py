"""How far a warm manifest is from what the machine and the server can do: nginx, and bare ASGI on the same server.

`python -m tests.bench.pulls.ceiling HOST:PORT FILE` serves the bytes of FILE as the bare application.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from pwd import getpwuid
from typing import Any

import uvloop

from swell import log
from swell.net.http import listening
from swell.serve import address
from swell_embedded.ports import Ports
from swell_embedded.processes import probes
from swell_embedded.processes.child import Child
from swell_embedded.processes.program import Program
from tests.bench.bar import Bar, Compared, Result, Round, judge
from tests.bench.load import load
from tests.bench.place import ACCEPT, BASE, Place, clean_environment

ROUNDS = 3

LIMIT = Bar(
    name="warm manifest by tag, of the limit of the machine",
    unit="requests/s",
    must=0.2,
    aim=0.4,
    compared=Compared.RATIO,
    peer="nginx, the same bytes as a file",
    at_least=True,
)
CEILING = Bar(
    name="warm manifest by tag, of the ceiling of the stack",
    unit="requests/s",
    must=0.5,
    aim=0.75,
    compared=Compared.RATIO,
    peer="bare ASGI on the same server",
    at_least=True,
)
TAIL = Bar(
    name="warm manifest by tag, p99 as a multiple of p50",
    unit="times",
    must=1.25,
    aim=1,
    compared=Compared.RATIO,
    peer="bare ASGI on the same server",
)
"""Two cores have three busy threads: the load, the server's and Python's. What one waits for another is in the tail of
both programs; ours may not add to it. Reasons: `docs/decisions/0049-what-bounds-the-figures.md`."""
EXTREME = Bar(name="warm manifest by tag, p99.9", unit="ms", must=20, aim=5)
CPU = Bar(name="CPU time of the gateway for a warm manifest", unit="us", must=70, aim=40)


async def ceilings(place: Place) -> list[Result]:
    """Load nginx, the bare application and the gateway alternately with the same manifest."""
    manifest = place.home / "manifest.json"
    manifest.write_bytes(await place.manifest(BASE))
    ours, gateway = place.through(await place.token(), "manifests"), place.stack.pid("gateway")
    rounds = []
    async with nginx(place.home / "nginx", manifest) as limit, bare(place.home / "asgi", manifest) as ceiling:
        for url in (limit, ceiling, ours):
            await load(url, ACCEPT, seconds=1)
        for _ in range(ROUNDS):
            peers = await load(limit, ACCEPT), await load(ceiling, ACCEPT)
            used = cpu_seconds(gateway)
            mine = await load(ours, ACCEPT)
            rounds.append((*peers, mine, (cpu_seconds(gateway) - used) * 1e6 / mine.requests))
    return [
        judge(LIMIT, [Round(mine.per_second, limited.per_second) for limited, _, mine, _ in rounds]),
        judge(CEILING, [Round(mine.per_second, bare_load.per_second) for _, bare_load, mine, _ in rounds]),
        judge(TAIL, [Round(mine.p99 / mine.p50, bare_load.p99 / bare_load.p50) for _, bare_load, mine, _ in rounds]),
        judge(EXTREME, [Round(mine.p999 / 1000) for _, _, mine, _ in rounds]),
        judge(CPU, [Round(cpu) for *_, cpu in rounds]),
    ]


def cpu_seconds(process: int) -> float:
    """Return the CPU time that *process* has used, in user and kernel mode.

    Source: proc(5), /proc/PID/stat, https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
    """
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def nginx(folder: Path, file: Path) -> AsyncIterator[str]:
    """Serve *file* with Debian's nginx; yield its URL."""
    port = Ports.free().registry
    folder.mkdir()
    folders = " ".join(f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"user {getpwuid(os.geteuid()).pw_name};\n"  # the folder of the benchmark is private
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events { worker_connections 1024; }\n"
        f"http {{ access_log off; keepalive_requests 1000000000; {folders}\n"
        f"server {{ listen 127.0.0.1:{port}; root {file.parent}; }} }}\n"
    )
    command = ("nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"))
    async with _serving("nginx", command, f"http://127.0.0.1:{port}/{file.name}", folder) as url:
        yield url


@asynccontextmanager
async def bare(folder: Path, file: Path) -> AsyncIterator[str]:
    """Serve *file* with an application that does nothing else, on the server of the gateway; yield its URL."""
    port = Ports.free().registry
    folder.mkdir()
    command = (sys.executable, "-m", "tests.bench.pulls.ceiling", f"127.0.0.1:{port}", str(file))
    async with _serving("bare", command, f"http://127.0.0.1:{port}/", folder) as url:
        yield url


@asynccontextmanager
async def _serving(name: str, command: tuple[str, ...], url: str, folder: Path) -> AsyncIterator[str]:
    program = Program(name=name, command=command, environment=clean_environment(), ready=probes.http(url))
    child = await Child.start(program, folder)
    try:
        await child.ready()
        yield url
    finally:
        await child.stop()


async def _serve(where: str, file: Path) -> None:
    body = file.read_bytes()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async with listening(app, address(where)):
        await asyncio.Event().wait()


if __name__ == "__main__":
    log.configure("bare")
    uvloop.run(_serve(sys.argv[1], Path(sys.argv[2])))
