"""`swell config`."""

import click

from swell_cli.config import Config, config_path, load, save
from swell_cli.exits import Exit
from swell_cli.output import Result
from swell_cli.session import Session, common, fail

EPILOG = """\b
Examples:
  swell config list
  swell config use work
  swell config show -o json
  cat "$(swell config path)"
"""


@click.group(epilog=EPILOG)
def config() -> None:
    """Show and change profiles. They are in config.toml in $XDG_CONFIG_HOME/swell, which only you can read."""


@config.command("list", epilog=EPILOG)
@common
def list_profiles(session: Session) -> None:
    """List the profiles."""
    found = load()
    rows = [("PROFILE", "URL", "KEY", "DEFAULT")]
    for name, profile in found.profiles.items():
        rows.append((name, profile.url, "stored" if profile.token else "", "*" if name == found.default else ""))
    fields = {name: {"url": profile.url, "hasKey": bool(profile.token)} for name, profile in found.profiles.items()}
    session.show(Result({"default": found.default, "profiles": fields}, rows, "\n".join(found.profiles)))


@config.command(epilog=EPILOG)
@common
def show(session: Session) -> None:
    """Show the server and the key that commands use, and where they come from."""
    server = session.server
    rows = [
        ("url", server.url.value, server.url.origin),
        ("key", "set" if server.token.value else "none", server.token.origin),
        ("profile", server.profile, ""),
    ]
    fields = {"url": server.url._asdict(), "key": {"isSet": bool(server.token.value), "origin": server.token.origin}}
    session.show(Result(fields, rows, server.url.value))


@config.command(epilog=EPILOG)
@click.argument("name")
@common
def use(_: Session, name: str) -> None:
    """Use the profile NAME where no other is named."""
    found = load()
    if name not in found.profiles:
        fail(f"{config_path()} has no profile {name!r}", Exit.USAGE)
    save(Config(default=name, profiles=found.profiles))


@config.command(epilog=EPILOG)
@common
def path(session: Session) -> None:
    """Print where the config file is."""
    session.show(Result({"path": str(config_path())}, [(str(config_path()),)], str(config_path())))
