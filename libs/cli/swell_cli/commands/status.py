"""`swell status`."""

import click

from swell_cli.identify import request_of
from swell_cli.output import Result
from swell_cli.session import Session, common

EPILOG = """\b
Examples:
  swell status bd-c44968632f89dd6c_1
  swell status -o json $(swell build -dq .)
"""


@click.command(epilog=EPILOG)
@click.argument("id")
@common
def status(session: Session, id: str) -> None:  # noqa: A002 - as it is called in the help
    """Show the build, mirror, scan or request ID; a name with a token counts as its request."""
    with session.client() as client:
        match id[:3]:
            case "bd-":
                fields, name = client.build_record(id), id
            case "mr-":
                fields, name = client.mirror_record(id), id  # type: ignore[assignment]  # another kind of record
            case "sc-":
                fields, name = client.scan(id), id  # type: ignore[assignment]
            case _:
                fields, name = client.container_status(request_of(id)), id  # type: ignore[assignment]
    session.show(Result(fields, name=name))
