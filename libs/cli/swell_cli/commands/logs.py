"""`swell logs`."""

import sys

import click

from swell_cli.exits import Exit
from swell_cli.identify import build_of
from swell_cli.interrupting import repeated_interrupts
from swell_cli.output import printable, write
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
    with repeated_interrupts(), session.client() as client:
        if id.startswith("sc-"):
            write(client.scan_file(id, "logs").decode(errors="replace"), sys.stdout)
            return
        build_id = build_of(client, id)
        if not follow:
            write(client.log(build_id), sys.stdout)
            return
        for event in client.log_events(build_id):
            match event:
                case LogLine(text=text):
                    write(text + "\n", sys.stdout)
                case Ended(end=end):
                    click.echo(printable(describe(event)), err=True)
                    sys.exit(Exit.OK if end.succeeded else Exit.FAILED)
                case StepChanged():
                    continue
                case _:
                    click.echo(printable(describe(event)), err=True)
