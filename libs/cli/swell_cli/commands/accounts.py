"""`swell accounts`."""

import sys
from urllib.parse import quote

import click

from swell.api.accounts import AccountChange, AccountPage, AccountRecord, AccountRequest
from swell_cli.output import Format, Result
from swell_cli.session import Session, common
from swell_client.body import decode, encode

PATH = "/v1alpha2/accounts"
MOST_PAGES = 1000  # of a list of accounts
_LONGEST = 100  # characters, as in the API

EPILOG = """\b
Examples:
  swell accounts create grace --email grace@example.org --org lab
  swell accounts create ops --scope administer
  swell accounts list
  swell accounts password grace
  swell accounts disable grace
"""


@click.group(epilog=EPILOG)
def accounts() -> None:
    """Manage accounts: a name and a password. For operators; `password` is for users, too."""


@accounts.command(epilog=EPILOG)
@click.argument("name")
@click.option("--email", default="", metavar="TEXT", help="E-mail address, for notices.")
@click.option("--org", default="", metavar="NAME", help="Organisation of the user.")
@click.option("--scope", "scopes", metavar="NAME", multiple=True, help="What it may do; administer for an operator.")
@common
def create(session: Session, name: str, email: str, org: str, scopes: tuple[str, ...]) -> None:
    """Create the account NAME, and print its password, which the server chooses. It is shown only now."""
    request = AccountRequest(
        name=name,
        email=email,
        organisation=org,
        scopes=scopes or None,  # type: ignore[arg-type]  # the server checks their names
    )
    with session.client() as client:
        fields = decode(client.http.send("POST", PATH, body=encode(request)), dict[str, object])
    session.show(Result(fields, name=str(fields.get("password", ""))), default=Format.NAME)


@accounts.command("list", epilog=EPILOG)
@common
def list_accounts(session: Session) -> None:
    """List all accounts by name."""
    found, cursor = list[AccountRecord](), ""
    with session.client() as client:
        for _ in range(MOST_PAGES):
            page = decode(client.http.send("GET", PATH, params={"cursor": cursor} if cursor else {}), AccountPage)
            found += page.accounts
            if not page.next or page.next == cursor:
                break
            cursor = page.next
    rows = [("NAME", "EMAIL", "ORGANISATION", "SCOPES", "STATE")]
    rows += [
        (each.name, each.email, each.organisation, " ".join(each.scopes), "disabled" if each.disabled else "")
        for each in found
    ]
    session.show(Result(found, rows, "\n".join(each.name for each in found)))


@accounts.command(epilog=EPILOG)
@click.argument("name")
@click.option("--own", is_flag=True, help="It is your account: asks for the current password, too.")
@common
def password(session: Session, name: str, own: bool) -> None:
    """Set the password of NAME. It is asked for, or is a line of stdin, after the current one with --own."""
    current = _secret("Current password") if own else None
    _change(session, name, AccountChange(password=_secret("New password", again=True), current_password=current))


@accounts.command(epilog=EPILOG)
@click.argument("name")
@common
def disable(session: Session, name: str) -> None:
    """Refuse the account NAME, end its sessions, and revoke its API keys, everywhere within a second."""
    _change(session, name, AccountChange(disabled=True))


@accounts.command(epilog=EPILOG)
@click.argument("name")
@common
def enable(session: Session, name: str) -> None:
    """Accept the account NAME again. Its former API keys stay revoked."""
    _change(session, name, AccountChange(disabled=False))


@accounts.command(epilog=EPILOG)
@click.argument("name")
@common
def delete(session: Session, name: str) -> None:
    """Delete the account NAME, its sessions and its API keys."""
    with session.client() as client:
        record = decode(client.http.send("DELETE", _path(name)), AccountRecord)
    session.show(Result(record, [(f"deleted {record.name}",)], record.name))


def _change(session: Session, name: str, change: AccountChange) -> None:
    with session.client() as client:
        record = decode(client.http.send("PATCH", _path(name), body=encode(change)), AccountRecord)
    session.show(Result(record, [(f"changed {record.name}",)], record.name))


def _path(name: str) -> str:
    return f"{PATH}/{quote(name, safe='')}"


def _secret(prompt: str, *, again: bool = False) -> str:
    """A password: asked for on a terminal, else the next line of stdin. It is never an argument."""
    if sys.stdin.isatty():
        return str(click.prompt(prompt, hide_input=True, err=True, confirmation_prompt=again))
    line = sys.stdin.readline(_LONGEST + 2).rstrip("\r\n")
    if not line or len(line) > _LONGEST:
        raise click.UsageError(f"stdin has no line with a password of 1 to {_LONGEST} characters.")
    return line
