"""`swell lock`."""

import sys

import click

from swell_cli.identify import build_of
from swell_cli.output import write
from swell_cli.session import Session, common

EPILOG = """\b
Example:
  swell lock bd-c44968632f89dd6c_1 > lock.txt && swell build -e lock.txt
"""


@click.command(epilog=EPILOG)
@click.argument("id")
@common
def lock(session: Session, id: str) -> None:  # noqa: A002 - as it is called in the help
    """Print the lock file of the build or request ID: every package with its address and digest."""
    with session.client() as client:
        write(client.lock(build_of(client, id)), sys.stdout)
