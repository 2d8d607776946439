"""`swell logs`."""

import sys

import click

from swell_cli.exits import Exit
from swell_cli.identify import build_of
from swell_cli.output import printable
from swell_cli.progress import describe
from swell_cli.session import Session, common
from swell_client.events import Ended, LogLine, StepChanged

EPILOG = """\b
Examples:
  swell logs bd-c44968632f89dd6c_1
  swell logs -f bd-c44968632f89dd6c_1
"""


@click.command(epilog=EPILOG)
@click.argument("id")
@click.option("-f", "--follow", is_flag=True, help="Follow the log until the build ends; resumes when it breaks.")
@common
def logs(session: Session, id: str, follow: bool) -> None:  # noqa: A002 - as it is called in the help
    """Print the log of the build, mirror, scan or request ID.

    With --follow, the exit code is that of the build: 1 if it failed.
    """
    with session.client() as client:
        if id.startswith("sc-"):
            _write(client.scan_file(id, "logs").decode(errors="replace"))
            return
        build_id = build_of(client, id)
        if not follow:
            _write(client.log(build_id))
            return
        for event in client.log_events(build_id):
            match event:
                case LogLine(text=text):
                    _write(text + "\n")
                case Ended(end=end):
                    click.echo(describe(event), err=True)
                    sys.exit(Exit.OK if end.succeeded else Exit.FAILED)
                case StepChanged():
                    continue
                case _:
                    click.echo(describe(event), err=True)


def _write(text: str) -> None:
    """On a terminal, without control characters, which could change it; elsewhere as it is."""
    if sys.stdout.isatty():
        text = "\n".join(map(printable, text.split("\n")))
    sys.stdout.write(text)
    sys.stdout.flush()
