"""`swell credentials`."""

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from swell_cli.output import Result
from swell_cli.session import Session, common

F = TypeVar("F", bound=Callable[..., object])
_LONGEST_PASSWORD = 16 << 10  # characters, as in the API

EPILOG = """\b
Examples:
  swell credentials put quay.io --user-name ada          asks for the password
  swell credentials put quay.io/acme --user-name ada - < password.txt
  swell credentials list
  swell credentials delete quay.io/acme
"""


def owned(function: F) -> F:
    """Add the options that name another owner than the user of the key."""
    for option, text in (
        ("--org", "Organisation that owns the credential; for operators."),
        ("--user", "User that owns it; for operators."),
    ):
        function = click.option(option, metavar="NAME", default="", help=text)(function)
    return function


@click.group(epilog=EPILOG)
def credentials() -> None:
    """Store credentials for registries at the server, which uses them for your requests only.

    Needs a key with the scope `keys`. The server encrypts passwords, and shows them to no one.
    """


@credentials.command(epilog=EPILOG)
@click.argument("registry")
@click.argument("password", required=False, metavar="[-]")
@click.option("--user-name", metavar="TEXT", required=True, help="Your user name at the registry.")
@owned
@common
def put(session: Session, registry: str, password: str | None, user_name: str, user: str, org: str) -> None:
    """Store a credential for REGISTRY, such as quay.io or quay.io/acme, once the registry has accepted it.

    The password is asked for; '-' reads the first line of stdin. It is never an argument, which other users could see.
    """
    if password not in {None, "-"}:  # is not repeated in the message
        raise click.UsageError("The password is no argument: leave it out, or write '-' to read it from stdin.")
    secret = _first_line() if password else click.prompt("Password", hide_input=True, err=True)
    if not secret:
        raise click.UsageError("The password is empty.")
    with session.client() as client:
        stored = client.store_credential(registry, user_name, secret, user=user, org=org)
    session.show(Result(stored, [(f"stored {stored.user_name} for {stored.registry}",)], stored.registry))


@credentials.command("list", epilog=EPILOG)
@owned
@common
def list_credentials(session: Session, user: str, org: str) -> None:
    """List your stored credentials, and those of your organisation, without passwords."""
    with session.client() as client:
        found = client.credentials(user=user, org=org)
    rows = [("REGISTRY", "USER NAME", "OWNER", "STORED")]
    rows += [(each.registry, each.user_name, each.organisation or each.user, f"{each.stored:%F}") for each in found]
    session.show(Result(found, rows, "\n".join(each.registry for each in found)))


@credentials.command(epilog=EPILOG)
@click.argument("registry")
@owned
@common
def delete(session: Session, registry: str, user: str, org: str) -> None:
    """Delete the credential for REGISTRY. Nothing uses it within a second."""
    with session.client() as client:
        client.delete_credential(registry, user=user, org=org)
    session.show(Result({"deleted": registry}, [(f"deleted {registry}",)], registry))


def _first_line() -> str:
    line = sys.stdin.readline(_LONGEST_PASSWORD + 2).rstrip("\r\n")
    if len(line) > _LONGEST_PASSWORD:
        raise click.UsageError(f"The password has more than {_LONGEST_PASSWORD} characters.")
    return line
