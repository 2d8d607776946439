"""URLs of Redis behind Sentinels: `redis+sentinel://user:password@host:26379,host:26379/NAME/DATABASE`.

Source: Redis, "High availability with Redis Sentinel",
https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/
"""

from typing import NamedTuple
from urllib.parse import unquote

from swell.serve import Address, address
from swell.settings import SettingsInvalid

_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}


class Sentinels(NamedTuple):
    """The addresses of the Sentinels, the name of the server that they watch, and the login at that server."""

    hosts: list[Address]
    name: str
    database: int
    user: str | None
    password: str | None
    is_tls: bool


def parse_sentinels(url: str) -> Sentinels | None:
    """Return what *url* names; None if it is another kind of URL.

    Raises:
        SettingsInvalid: it has another form; the message does not show it, because it may have a password.
    """
    scheme, _, rest = url.partition("://")
    if scheme not in _SCHEMES:
        return None
    authority, _, path = rest.partition("/")
    login, _, hosts = authority.rpartition("@")
    user, _, password = login.partition(":")
    name, _, database = path.partition("/")
    try:
        addresses = [address(each.strip()) for each in hosts.split(",")]
        number = int(database or 0)
    except (SettingsInvalid, ValueError):
        addresses, number = [], 0
    if not (addresses and name):
        raise SettingsInvalid(f"SWELL_REDIS_URL has the form {scheme}://user:password@host:26379,host:26379/NAME/0")
    return Sentinels(
        addresses,
        unquote(name),
        number,
        unquote(user) or None,
        unquote(password) or None,
        _SCHEMES[scheme],
    )
