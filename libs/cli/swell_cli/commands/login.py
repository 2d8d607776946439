"""`swell login` and `swell logout`."""

import sys

import click

from swell_cli.config import DEFAULT_PROFILE, Profile, config_path, load, save, with_profile
from swell_cli.exits import Exit
from swell_cli.output import printable
from swell_cli.session import agent, fail, guarded
from swell_client.settings import DEFAULT_URL

EPILOG = """\b
Examples:
  swell login https://swell.example.org              asks for the key
  swell login https://swell.example.org --profile work - < key.txt
"""
LOGOUT_EPILOG = """\b
Examples:
  swell logout
  swell logout --profile work
"""
PROFILE = click.option(
    "--profile", metavar="NAME", default=DEFAULT_PROFILE, help="Name of the profile.", show_default=True
)


@click.command(epilog=EPILOG)
@click.argument("url", default=DEFAULT_URL)
@click.argument("key", required=False, type=click.Choice(["-"]), metavar="[-]")
@PROFILE
@click.option("--no-key", is_flag=True, help="Store only the address.")
def login(url: str, key: str | None, profile: str, no_key: bool) -> None:
    """Check an API key with the server at URL, and store both as a profile. '-' reads the key from stdin."""
    token = ""
    if not no_key:
        token = (sys.stdin.readline() if key else click.prompt("API key", hide_input=True, err=True)).strip()
        if not token:
            fail("the key is empty; use --no-key to store only the address", Exit.USAGE)
    guarded(lambda: _login(url, profile, token))


def _login(url: str, profile: str, token: str) -> None:
    from swell_client import Client  # noqa: PLC0415 - takes time to import

    with Client(url, token=token, user_agent=agent()) as client:
        info = client.service_info()
        if token:
            client.build("FROM scratch\n", dry_run=True)  # refused with 401 for an unknown key
    path = save(with_profile(load(), profile, Profile(client.url, token)))
    version = printable(info.get("swellVersion", "unknown"))
    click.echo(f"stored {client.url} (Swell {version}) as {profile} in {path}", err=True)


@click.command(epilog=LOGOUT_EPILOG)
@PROFILE
def logout(profile: str) -> None:
    """Remove a profile with its key from the config file. The key itself stays valid."""

    def remove() -> None:
        config = load()
        if profile not in config.profiles:
            fail(f"{config_path()} has no profile {profile!r}", Exit.USAGE)
        save(with_profile(config, profile, None))
        click.echo(f"removed {profile}", err=True)

    guarded(remove)
