"""Profiles: servers and API keys in `$XDG_CONFIG_HOME/swell/config.toml`, which only its owner can read.

    default = "work"

    [profiles.work]
    url = "https://swell.example.org"
    token = "swell_…"

Source: XDG Base Directory Specification, https://specifications.freedesktop.org/basedir-spec/latest/
"""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from swell_client.errors import SwellClientError
from swell_client.settings import DEFAULT_URL, TOKEN_VARIABLES, URL_VARIABLES, first_of

DEFAULT_PROFILE = "default"
PROFILE_VARIABLES = ("SWELL_PROFILE",)


class Profile(Struct, frozen=True, omit_defaults=True):
    """A server and the key for it."""

    url: str = ""
    token: str = ""


class Config(Struct, frozen=True, omit_defaults=True):
    """All profiles, and the name of the one that is used without `--profile`."""

    default: str = ""
    profiles: dict[str, Profile] = {}


class ConfigInvalid(SwellClientError):
    """The config file cannot be read."""


class Place(NamedTuple):
    """A value, and where it comes from."""

    value: str
    origin: str


def config_path() -> Path:
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "swell" / "config.toml"


def load() -> Config:
    """Read the config file; an empty config without one.

    Raises:
        ConfigInvalid: it is not TOML, or has other members.
    """
    import tomllib  # noqa: PLC0415 - not needed where variables say everything

    path = config_path()
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Config)
    except FileNotFoundError:
        return Config()
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"{path}: {error}") from error


def save(config: Config) -> Path:
    """Write *config*, readable for its owner only, in one step."""
    import tomli_w  # noqa: PLC0415 - only when something changes

    path = config_path()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "w") as opened:
        opened.write(tomli_w.dumps(msgspec.to_builtins(config)))
    temporary.replace(path)
    return path


def with_profile(config: Config, name: str, profile: Profile | None) -> Config:
    """*config* with another profile *name*, or without it."""
    others = {key: value for key, value in config.profiles.items() if key != name}
    if profile is None:
        return Config(default="" if config.default == name else config.default, profiles=others)
    return Config(default=config.default or name, profiles=others | {name: profile})


class Server(NamedTuple):
    """The server of a command, and the key for it, each with its origin."""

    url: Place
    token: Place
    profile: str


def resolve(url: str | None, profile: str | None) -> Server:
    """Options count before variables, variables before the profile. A key is sent only to the server it is for.

    A profile that is named with an option counts before variables.

    Raises:
        ConfigInvalid: the config file cannot be read, or has no such profile.
    """
    config = load()
    name = profile or first_of(PROFILE_VARIABLES) or config.default or DEFAULT_PROFILE
    if (profile or first_of(PROFILE_VARIABLES)) and name not in config.profiles:
        raise ConfigInvalid(
            f"{config_path()} has no profile {name!r}: create it with 'swell login --profile {name} URL'"
        )
    chosen = config.profiles.get(name, Profile())
    from_profile = f"profile {name}"
    places = [
        Place(url or "", "--url"),
        Place(chosen.url if profile else "", from_profile),
        *(Place(os.environ.get(variable, ""), variable) for variable in URL_VARIABLES),
        Place(chosen.url, from_profile),
        Place(DEFAULT_URL, "default"),
    ]
    address = next(place for place in places if place.value)
    same = chosen.url.rstrip("/") == address.value.rstrip("/")
    keys = [
        Place(chosen.token if profile and same else "", from_profile),
        *(Place(os.environ.get(variable, ""), variable) for variable in TOKEN_VARIABLES),
        Place(chosen.token if same else "", from_profile),
        Place("", "none"),
    ]
    token = next((place for place in keys if place.value), keys[-1])
    return Server(Place(address.value.rstrip("/"), address.origin), token, name)
