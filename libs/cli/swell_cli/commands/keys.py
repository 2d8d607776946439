"""`swell keys`."""

from datetime import UTC, datetime, timedelta

import click

from swell.api.keys import KeyPage, KeyRecord, KeyRequest
from swell_cli.output import Format, Result
from swell_cli.session import Session, common
from swell_client.body import decode, encode

PATH = "/v1alpha2/keys"
MOST_PAGES = 1000  # of a list of keys

EPILOG = """\b
Examples:
  swell keys create --name ci --scope build --scope pull --days 30
  swell keys list
  swell keys revoke KEY_ID
"""


@click.group(epilog=EPILOG)
def keys() -> None:
    """List, create and revoke API keys. Needs a key with the scope `keys`."""


@keys.command(epilog=EPILOG)
@click.option("--name", default="", metavar="TEXT", help="What the key is for.")
@click.option("--scope", "scopes", metavar="NAME", multiple=True, help="What the key may do, such as build or pull.")
@click.option(
    "--repository", "repositories", metavar="NAME", multiple=True, help="Repository that the key is limited to."
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Days until the key expires.")
@click.option("--user", metavar="NAME", help="User of the key; for operators.")
@common
def create(
    session: Session,
    name: str,
    scopes: tuple[str, ...],
    repositories: tuple[str, ...],
    days: float | None,
    user: str | None,
) -> None:
    """Create a key, and print it. It is shown only now."""
    request = KeyRequest(
        name=name,
        user=user,
        scopes=scopes or None,  # type: ignore[arg-type]  # the server checks their names
        repositories=repositories,
        expires=datetime.now(UTC) + timedelta(days=days) if days else None,
    )
    with session.client() as client:
        answer = client.http.send("POST", PATH, body=encode(request))
    fields = decode(answer, dict[str, object])
    session.show(Result(fields, name=str(fields.get("key", ""))), default=Format.NAME)


@keys.command("list", epilog=EPILOG)
@click.option("--user", metavar="NAME", help="User whose keys are listed; for operators.")
@common
def list_keys(session: Session, user: str | None) -> None:
    """List your keys, newest first."""
    found, cursor = list[KeyRecord](), ""
    with session.client() as client:
        for _ in range(MOST_PAGES):
            params = {name: value for name, value in (("user", user), ("cursor", cursor)) if value}
            page = decode(client.http.send("GET", PATH, params=params), KeyPage)
            found += page.keys
            if not page.next or page.next == cursor:
                break
            cursor = page.next
    rows = [("ID", "NAME", "USER", "SCOPES", "EXPIRES")]
    rows += [
        (key.id, key.name, key.user, " ".join(key.scopes), f"{key.expires:%Y-%m-%d}" if key.expires else "")
        for key in found
    ]
    session.show(Result(found, rows, "\n".join(key.id for key in found)))


@keys.command(epilog=EPILOG)
@click.argument("id")
@common
def revoke(session: Session, id: str) -> None:  # noqa: A002 - as it is called in the help
    """Revoke the key ID everywhere, within a second."""
    from urllib.parse import quote  # noqa: PLC0415

    with session.client() as client:
        record = decode(client.http.send("DELETE", f"{PATH}/{quote(id, safe='')}"), KeyRecord)
    session.show(Result(record, [(f"revoked {record.id}",)], record.id))
