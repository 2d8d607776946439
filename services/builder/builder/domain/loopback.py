"""Registries on this machine's own loopback."""

from collections.abc import Iterable

from msgspec import Struct
from yarl import URL

NAMES = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "[::1]": "::1"}
"""What such hosts are called in image names, and where they listen."""

_PORT = 80


class Address(Struct, frozen=True, order=True):
    host: str
    port: int


def allowed_registries(allowed: Iterable[str], images: Iterable[str]) -> list[Address]:
    """Where the loopback registries are that *allowed* (`host` or `host:port`) names; of hosts without a port, those
    whose port one of *images* names."""
    names, hosts = set(allowed), {image.partition("/")[0] for image in images}
    lent = {host for host in hosts if _split(host)[0] in names}
    found = {_address(name) for name in names | lent}
    return sorted(address for address in found if address)


def proxies(urls: Iterable[str]) -> list[Address]:
    """Where those of the proxies *urls* listen that are on loopback."""
    found = (_address(f"{url.host_subcomponent}:{url.port}") for url in map(URL, urls))
    return [address for address in found if address]


def _address(name: str) -> Address | None:
    host, port = _split(name)
    return Address(NAMES[host], port) if host in NAMES and 0 < port < 1 << 16 else None


def _split(name: str) -> tuple[str, int]:
    host, colon, port = name.rpartition(":")
    return (host, int(port)) if colon and port.isdecimal() else (name, _PORT)
