"""`python -m swell_embedded up` runs Swell on this machine until Ctrl-C; `demo` shows a build and two pulls.

`run COMMAND…` runs an operator's command with the environment of this stack's services.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

from swell import codecs, log
from swell.errors import SwellError
from swell_embedded.demo import demo, is_running
from swell_embedded.ports import Ports
from swell_embedded.processes.privileges import act_for, become_root, needs_root, owner_of
from swell_embedded.site import prepare, variables
from swell_embedded.stack import open_stack

_TRY = """curl -s {url}/v1alpha2/container -H 'Content-Type: application/json' -d '{{"containerImage": "busybox"}}'"""


def main() -> None:
    """Run the stack of SWELL_HOME (default `.swell`); exit code 0 after Ctrl-C or SIGTERM, 1 after an error."""
    arguments = _parser().parse_args()
    log.configure("swell", os.environ.get("SWELL_LOG_LEVEL") or ("INFO" if arguments.command == "up" else "WARNING"))
    codecs.prepare()
    try:
        ports = Ports.free() if arguments.free_ports else Ports.default(os.environ).plus(arguments.ports)
        home = Path(os.environ.get("SWELL_HOME") or (f".swell{arguments.ports:+d}" if arguments.ports else ".swell"))
        if arguments.command == "run":
            _exec(arguments.operator, home, ports)
        if arguments.command == "up" or not asyncio.run(is_running(ports)):
            if needs_root(os.environ):
                become_root(sys.argv[1:])
            act_for(owner_of(home))
        asyncio.run(demo(home, ports) if arguments.command == "demo" else _until_stopped(home, ports))
    except SwellError as error:
        sys.exit(f"swell: {error}")
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.stdout.write("Swell has stopped.\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m swell_embedded", description="Run Swell on this machine.")
    parser.set_defaults(free_ports=False)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start all services and backends; Ctrl-C stops them")
    up.add_argument("--free-ports", action="store_true", help="use any free ports instead of the default ones")
    demo = commands.add_parser("demo", help="run a build and two pulls")
    run = commands.add_parser("run", help="run an operator's command with the services' environment")
    for command in (up, demo, run):
        command.add_argument(
            "--ports", type=int, default=0, metavar="+N", help="add N to each port; the home folder is then .swell+N"
        )
    run.add_argument("operator", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


def _exec(command: list[str], home: Path, ports: Ports) -> None:
    """Replace this process with *command*; this Python's folder is first on its PATH."""
    if not command:
        sys.exit("swell: run needs a command, for example: run python -m swell.jobs.dead_letters list")
    site = prepare(home, ports, os.environ)
    path = f"{Path(sys.executable).parent}:{site.inherited['PATH']}"
    os.execvpe(command[0], command, site.inherited | variables(site) | {"PATH": path})  # noqa: S606 (the operator's command)


async def _until_stopped(home: Path, ports: Ports) -> None:
    _stop_on_signals()
    started = time.monotonic()
    async with open_stack(home, ports, echo=True) as stack:
        seconds = time.monotonic() - started
        hint = _TRY.format(url=stack.url)
        ready = f"Swell is ready at {stack.url} after {seconds:.1f} s (Ctrl-C stops it)."
        sys.stdout.write(f"{ready} Open it in a browser, or try: {hint}\n")
        sys.stdout.flush()
        await stack.supervise()


def _stop_on_signals() -> None:
    """Stop in order at the first SIGINT or SIGTERM; a second one kills this process and its children immediately."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def stop() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if task:
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)


if __name__ == "__main__":
    main()
