"""The stack: the backends and services of one home folder, started together and stopped in reverse."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals

from msgspec import Struct

from swell.log import log
from swell_embedded.backends import BACKENDS, versions
from swell_embedded.credentials import USER
from swell_embedded.errors import CannotStart, ChildDied
from swell_embedded.ports import Ports
from swell_embedded.processes.child import Child
from swell_embedded.processes.privileges import hand_over
from swell_embedded.processes.program import Program
from swell_embedded.processes.restarts import MAX_CRASHES, STEADY, Restarts
from swell_embedded.services import SERVICES, Service, program
from swell_embedded.site import Site, locked, prepare, variables
from swell_embedded.system import require_ports, require_tools


class Registry(Struct, frozen=True):
    """The embedded OCI registry: plain HTTP at *address* (`host:port`)."""

    address: str
    username: str
    password: str


class Stack:
    """The running processes of one home folder; created by `open_stack` and `open_backends`."""

    def __init__(self, site: Site, programs: Iterable[Program], *, echo: frozenset[str] = frozenset()) -> None:
        self.ports = site.ports
        self.env = variables(site)
        self.url = self.env["SWELL_SERVER_URL"]
        self.registry = Registry(site.registry, USER, site.secrets.registry_password)
        self._site = site
        self._logs = site.logs
        self._programs = {each.name: each for each in programs}
        self._children: dict[str, Child] = {}
        self._ready = {name: asyncio.Event() for name in self._programs}
        self._echo = echo

    async def start(self) -> None:
        """Start every program once the programs it needs are ready; return when all are ready.

        Raises:
            CannotStart: a command is missing or a port is in use; nothing was started.
            ChildDied: a program ended, or is not ready in time.
        """
        require_tools(self._programs.values())
        await require_ports(self._programs.values())
        hand_over(self._site.home, self._site.owner)
        await _together(self._start_after_needs(each) for each in self._programs.values())

    async def _start_after_needs(self, each: Program) -> None:
        for name in each.needs:
            await self._ready[name].wait()
        await self._start(each)

    async def _start(self, each: Program) -> None:
        child = await Child.start(each, self._logs, owner=self._site.owner, echo=each.name in self._echo)
        self._children[each.name] = child
        await child.ready()
        self._ready[each.name].set()

    async def stop(self) -> None:
        """Stop the services in reverse order, and then all backends together."""
        for name in reversed([name for name in self._programs if name not in BACKENDS]):
            await self._stop(name)
        await asyncio.gather(*(self._stop(name) for name in BACKENDS))

    async def _stop(self, name: str) -> None:
        if child := self._children.pop(name, None):
            self._ready[name].clear()
            await child.stop()

    def pid(self, name: str) -> int:
        """Return the process id of the running program *name*."""
        return self._children[name].pid

    def kill(self, name: str, signal: Signals = Signals.SIGKILL) -> None:
        """Send *signal* to the program *name*; it stays down until `restart`."""
        self._children[name].send(signal)

    def program(self, name: str) -> Program:
        """Return the program *name* as it is started."""
        return self._programs[name]

    async def restart(self, name: str, instead: Program | None = None) -> None:
        """Stop the program *name* if it runs, start it, or *instead* of it, and wait until it is ready.

        Raises:
            ChildDied: the program ended, or is not ready in time.
        """
        await self._stop(name)
        if instead:
            self._programs[name] = instead
        await self._start(self._programs[name])

    async def supervise(self) -> None:
        """Restart each program that ends unexpectedly, until cancelled; programs that need it wait for it.

        Raises:
            ChildDied: a program crashes again and again; the message has its last lines and its log's path.
        """
        await _together(self._supervise(each) for each in self._programs.values())

    async def _supervise(self, each: Program) -> None:
        restarts = Restarts()
        while True:
            since = time.monotonic()
            try:
                await self._children[each.name].wait_for_end()
            except ChildDied as error:
                await self._restart_with_delay(each, restarts, error, up=time.monotonic() - since)

    async def _restart_with_delay(self, each: Program, restarts: Restarts, error: Exception, up: float) -> None:
        """Restart *each*, which ended with *error* after *up* seconds, until it is ready."""
        path = str(self._logs / f"{each.name}.log")
        while (delay := restarts.crashed(up)) is not None:
            log.warning("program ended, restarting", name=each.name, delay=delay, error=str(error), log=path)
            await self._stop(each.name)
            await asyncio.sleep(delay)
            try:
                await self._start_after_needs(each)
            except (CannotStart, ChildDied) as failure:
                error, up = failure, 0.0
            else:
                log.info("program restarted", name=each.name, pid=self.pid(each.name))
                return
        raise ChildDied(
            f"{each.name} keeps crashing: it ended {MAX_CRASHES} times, each within {STEADY:.0f} s of its start."
            f" Its log is {path}. {error}"
        )


@asynccontextmanager
async def open_stack(
    home: Path,
    ports: Ports | None = None,
    services: Iterable[Service] = SERVICES,
    *,
    environment: Mapping[str, str] = os.environ,
    echo: bool = False,
) -> AsyncIterator[Stack]:
    """Run the backends and *services* in *home* while the block runs; with *echo*, print the services' output.

    A backend whose address is in *environment* (SWELL_NATS_URL, ...) is not started.

    Raises:
        CannotStart: a command is missing, a port is in use, or *home* is in use.
        ChildDied: a program ended, or is not ready in time.
    """
    with locked(home):
        site = prepare(home, ports or Ports.default(environment), environment)
        backends = [make(site) for name, make in BACKENDS.items() if name in site.runs]
        selected = tuple(services)
        names = frozenset(service.name for service in selected) if echo else frozenset()
        async with _running(Stack(site, [*backends, *(program(each, site) for each in selected)], echo=names)) as stack:
            yield stack


@asynccontextmanager
async def open_backends(
    home: Path, names: Iterable[str] = tuple(BACKENDS), *, environment: Mapping[str, str] = os.environ
) -> AsyncIterator[Stack]:
    """Run only the backends *names* (nats, redis, s3, registry) in *home*, on free ports.

    Raises:
        CannotStart, ChildDied: as `open_stack`.
    """
    with locked(home):
        site = prepare(home, Ports.free(), environment)
        async with _running(Stack(site, [BACKENDS[name](site) for name in names])) as stack:
            yield stack


async def _together(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Run all of *work* concurrently; the first error cancels the rest and is raised."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for each in work:
                tasks.create_task(each)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


@asynccontextmanager
async def _running(stack: Stack) -> AsyncIterator[Stack]:
    log.info("stack starting", url=stack.url, **versions())
    try:
        await stack.start()
        yield stack
    finally:
        await stack.stop()
