"""The stack: backends and services of one home, started together and stopped in reverse."""

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
from swell_embedded.child import Child
from swell_embedded.credentials import USER
from swell_embedded.errors import CannotStart, ChildDied
from swell_embedded.ports import Ports
from swell_embedded.program import Program
from swell_embedded.restarts import MOST, STEADY, Restarts
from swell_embedded.services import SERVICES, Service, program
from swell_embedded.site import Site, locked, prepare, variables
from swell_embedded.system import require_ports, require_tools


class Registry(Struct, frozen=True):
    """The embedded OCI registry: plain HTTP at *address* (`host:port`)."""

    address: str
    username: str
    password: str


class Stack:
    """Processes of one home that run; `open_stack` and `open_backends` make one."""

    def __init__(self, site: Site, programs: Iterable[Program], *, echo: frozenset[str] = frozenset()) -> None:
        self.ports = site.ports
        self.env = variables(site)
        self.url = self.env["SWELL_SERVER_URL"]
        self.registry = Registry(site.registry, USER, site.secrets.registry_password)
        self._logs = site.logs
        self._programs = {each.name: each for each in programs}
        self._children: dict[str, Child] = {}
        self._ready = {name: asyncio.Event() for name in self._programs}
        self._echo = echo

    async def start(self) -> None:
        """Start every program as soon as those it needs are ready; all are ready afterwards.

        Raises:
            CannotStart: a command or a port cannot be had; nothing was started.
            ChildDied: a program ended, or is not ready in time.
        """
        require_tools(self._programs.values())
        await require_ports(self._programs.values())
        await _together(self._start_after_needs(each) for each in self._programs.values())

    async def _start_after_needs(self, each: Program) -> None:
        for name in each.needs:
            await self._ready[name].wait()
        await self._start(each)

    async def _start(self, each: Program) -> None:
        child = await Child.start(each, self._logs, echo=each.name in self._echo)
        self._children[each.name] = child
        await child.ready()
        self._ready[each.name].set()

    async def stop(self) -> None:
        """Stop the services, last first, then the backends all at once."""
        for name in reversed([name for name in self._programs if name not in BACKENDS]):
            await self._stop(name)
        await asyncio.gather(*(self._stop(name) for name in BACKENDS))

    async def _stop(self, name: str) -> None:
        if child := self._children.pop(name, None):
            self._ready[name].clear()
            await child.stop()

    def pid(self, name: str) -> int:
        """The process id of the program *name* as it runs now."""
        return self._children[name].pid

    def kill(self, name: str, signal: Signals = Signals.SIGKILL) -> None:
        """Send *signal* to the program *name*; it stays down until `restart`."""
        self._children[name].send(signal)

    async def restart(self, name: str) -> None:
        """Stop the program *name* if it still runs, start it again, and wait until it is ready.

        Raises:
            ChildDied: it ended, or is not ready in time.
        """
        await self._stop(name)
        await self._start(self._programs[name])

    async def supervise(self) -> None:
        """Start each program again that ends by itself, for ever; those that need it wait until it is ready.

        Raises:
            ChildDied: a program cannot stay up; the message has its last lines and the path of its log.
        """
        await _together(self._keep_up(each) for each in self._programs.values())

    async def _keep_up(self, each: Program) -> None:
        restarts = Restarts()
        while True:
            since = time.monotonic()
            try:
                await self._children[each.name].died()
            except ChildDied as error:
                await self._bring_back(each, restarts, error, up=time.monotonic() - since)

    async def _bring_back(self, each: Program, restarts: Restarts, error: Exception, up: float) -> None:
        """Start *each*, which ended with *error* after *up* seconds, until it is ready."""
        path = str(self._logs / f"{each.name}.log")
        while (delay := restarts.crashed(up)) is not None:
            log.warning("program ended, is started again", name=each.name, delay=delay, error=str(error), log=path)
            await self._stop(each.name)
            await asyncio.sleep(delay)
            try:
                await self._start_after_needs(each)
            except (CannotStart, ChildDied) as failure:
                error, up = failure, 0.0
            else:
                log.info("program is ready again", name=each.name, pid=self.pid(each.name))
                return
        raise ChildDied(
            f"{each.name} does not stay up: {MOST} times it ended within {STEADY:.0f} s; its log is {path}. {error}"
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
    """Run the backends and *services* in *home* while the block runs; with *echo* the services' lines are shown.

    A backend that *environment* names (SWELL_NATS_URL, ...) is not started.

    Raises:
        CannotStart: something on this machine is in the way.
        ChildDied: a program ended, or is not ready in time.
    """
    with locked(home):
        site = prepare(home, ports or Ports.default(environment), environment)
        backends = [make(site) for name, make in BACKENDS.items() if name in site.runs]
        wanted = tuple(services)
        names = frozenset(service.name for service in wanted) if echo else frozenset()
        async with _running(Stack(site, [*backends, *(program(each, site) for each in wanted)], echo=names)) as stack:
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
    """Do all of *work* at once; the first error ends the rest and is raised."""
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
