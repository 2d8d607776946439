"""`swell cancel`."""

import click

from swell_cli.identify import build_of, is_build, request_of
from swell_cli.output import Result
from swell_cli.requesting import goes_on
from swell_cli.session import Session, common

EPILOG = """\b
Examples:
  swell cancel REQUEST_ID
  swell cancel bd-c44968632f89dd6c_1     all of your requests, with an API key
"""


@click.command(epilog=EPILOG)
@click.argument("id")
@click.option("--request", metavar="ID", help="The request that leaves the build.")
@common
def cancel(session: Session, id: str, request: str | None) -> None:  # noqa: A002 - as it is called in the help
    """Leave the build of the request ID, or the build or mirror ID. It stops when no other request needs it."""
    with session.client() as client:
        build_id = build_of(client, id)
        left = client.cancel(build_id, request_id=request or ("" if is_build(id) else request_of(id)))
    text = "cancelled" if left.cancelled else f"the build {goes_on(left)}"
    session.show(Result(left, [(f"{build_id}: {text}",)], build_id))
