"""Several processes of one gateway, which share its port: one for each core.

The first process starts the workers, serves nothing itself, and ends when one of them does. A worker is a gateway like
any other replica: it has its own caches, connections, operator port and counters. The kernel spreads new connections
over the workers.

Source: socket(7), SO_REUSEPORT, https://man7.org/linux/man-pages/man7/socket.7.html
"""

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence

from gateway.settings import Settings
from swell.concurrency.drain import Drain
from swell.errors import Unavailable
from swell.log import log
from swell.net.http import check_free
from swell.observe.operator_port import OFF
from swell.serve import LAST_SECONDS, address

OPERATOR_PORTS = 10
"""Between the operator ports of two workers; those of the other services are beside the first one."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


async def run_workers(settings: Settings, drain: Drain) -> None:
    """Run the workers until cancelled; then they drain, as a single process does.

    Raises:
        Unavailable: the port is in use, or a worker has ended.
    """
    check_free(address(settings.listen))
    workers: list[Process] = []
    ends: list[asyncio.Task[int]] = []
    try:
        for number in range(1, settings.gateway_workers + 1):
            worker = await _start(environment_of(settings, number))
            workers.append(worker)
            ends.append(asyncio.create_task(worker.wait()))  # no group: workers are stopped together, below
        log.info("workers started", count=len(workers))
        (ended, *_), _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        raise Unavailable(f"a worker has ended with {ended.result()}, so this gateway stops")
    finally:
        await _stop(workers, ends, drain)


def environment_of(settings: Settings, number: int) -> Mapping[str, str]:
    """The environment of the worker *number*, from 1 on. Limits of connections are for all workers together."""
    share = -(-settings.connections_per_address // settings.gateway_workers)
    return {
        **os.environ,
        "SWELL_GATEWAY_WORKERS": "1",
        "SWELL_GATEWAY_WORKER": str(number),
        "SWELL_CONNECTIONS_PER_ADDRESS": str(share),
        "SWELL_OPERATOR_LISTEN": operator_listen(settings.operator_listen, number),
    }


def operator_listen(first: str, number: int) -> str:
    """Where the operator port of the worker *number* is: that of the first one, and each tenth port after it."""
    if first == OFF:
        return first
    where = address(first)
    host = f"[{where.host}]" if ":" in where.host else where.host
    return f"{host}:{where.port + OPERATOR_PORTS * (number - 1)}"


def end_with_parent() -> None:
    """Stop this worker, with a drain, if the process that started it is killed.

    Source: prctl(2), https://man7.org/linux/man-pages/man2/prctl.2.html
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


async def _start(environment: Mapping[str, str]) -> Process:
    # In a session of its own: the terminal's Ctrl-C would otherwise be a second signal, which ends the drain at once.
    command = (sys.executable, "-m", "gateway")
    return await asyncio.create_subprocess_exec(*command, env=environment, start_new_session=True)


async def _stop(workers: Sequence[Process], ends: Sequence["asyncio.Task[int]"], drain: Drain) -> None:
    """Stop all *workers* at once; interrupt at the end of *drain* what still runs. *ends* wait for them."""
    _signal(workers, signal.SIGTERM)
    await drain.finish(ends)
    _signal(workers, signal.SIGTERM)  # the second one ends the drain of a worker
    if ends:
        await asyncio.wait(ends, timeout=2 * LAST_SECONDS)
    _signal(workers, signal.SIGKILL)
    await asyncio.gather(*ends)


def _signal(workers: Sequence[Process], number: signal.Signals) -> None:
    for each in workers:
        if each.returncode is None:
            each.send_signal(number)
