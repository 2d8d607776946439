"""Registries and proxies on this machine's loopback."""

from collections.abc import Iterable

from msgspec import Struct
from yarl import URL

NAMES = {"localhost": "127.0.0.1", "127.0.0.1": "127.0.0.1", "[::1]": "::1"}
"""Host names of image names, and the addresses where they listen."""

_PORT = 80


class Address(Struct, frozen=True, order=True):
    host: str
    port: int


def allowed_registries(allowed: Iterable[str], images: Iterable[str]) -> list[Address]:
    """Return the addresses of the loopback registries in *allowed* (`host` or `host:port`).

    For a host without a port, the ports are those in the names of *images*.
    """
    names, hosts = set(allowed), {image.partition("/")[0] for image in images}
    with_port = {host for host in hosts if _split(host)[0] in names}
    addresses = {_address(name) for name in names | with_port}
    return sorted(address for address in addresses if address)


def proxies(urls: Iterable[str]) -> list[Address]:
    """Return the addresses of the proxies *urls* that are on loopback."""
    addresses = (_address(f"{url.host_subcomponent}:{url.port}") for url in map(URL, urls))
    return [address for address in addresses if address]


def _address(name: str) -> Address | None:
    host, port = _split(name)
    return Address(NAMES[host], port) if host in NAMES and 0 < port < 1 << 16 else None


def _split(name: str) -> tuple[str, int]:
    host, colon, port = name.rpartition(":")
    return (host, int(port)) if colon and port.isdecimal() else (name, _PORT)
