"""Which addresses are of the public internet.

Sources: https://www.iana.org/assignments/iana-ipv4-special-registry/ and
https://www.iana.org/assignments/iana-ipv6-special-registry/; for names https://www.rfc-editor.org/rfc/rfc6761,
https://www.rfc-editor.org/rfc/rfc6762 and https://www.rfc-editor.org/rfc/rfc8375
"""

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

from yarl import URL

from swell.errors import BadRequest

# IANA's special-purpose registries, and the two clouds whose metadata service has an address that looks public.
_REFUSED = [
    ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
]
_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_LOCAL_NAMES = (
    ".localhost",
    ".local",
    ".internal",
    ".home.arpa",
    ".localdomain",
    ".lan",
    ".corp",
    ".home",
    ".intranet",
    ".svc",  # Kubernetes'
)


Address = IPv4Address | IPv6Address

_WEB = frozenset({"http", "https"})
_BLANK = re.compile(r"[\s\0-\x1f\x7f]")


def parse_url(text: str) -> URL:
    """Read an http(s) address.

    Raises:
        BadRequest: it is none, or names no host.
    """
    try:
        url = URL(text)
        if url.scheme in _WEB and url.host and not _BLANK.search(text):
            return url
    except ValueError:
        pass
    raise BadRequest(f"{text[:200]!r} is no http(s) address with a host")


@lru_cache(10_000)
def parse_address(text: str) -> Address | None:
    """Read `203.0.113.9`, `203.0.113.9:4711`, `2001:db8::1` or `[2001:db8::1]:4711`; None when it is none of them.

    An IPv4-mapped IPv6 address is the IPv4 address.
    """
    host = text[1:].partition("]")[0] if text.startswith("[") else text
    if host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@lru_cache(10_000)
def client_network(host: str) -> str:
    """The client behind *host*, an address with or without a port: an IPv4 address, or a /64 of IPv6."""
    address = parse_address(host)
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address) >> 64 << 64, 64)))
    return str(address or "unknown")


def is_public(address: str) -> bool:
    """Whether *address* is one of the public internet; an IPv4 address inside a NAT64 one counts as itself."""
    found = ip_address(address)
    if found in _NAT64:
        found = IPv4Address(int(found) & 0xFFFFFFFF)
    if found.version == 6 and found not in _GLOBAL_UNICAST:
        return False
    return not any(found in network for network in _REFUSED)


def is_loopback(host: str) -> bool:
    """Whether *host* is this machine by its very spelling: `localhost`, 127.0.0.0/8 or ::1."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def looks_public(host: str) -> bool:
    """Whether *host*, a name that a proxy will resolve, may be public.

    All that can be said without resolving it: literals count as their addresses, and names that only a local network
    knows, or that resolvers read as numbers (`0x7f.1`, `2130706433`), count as private.
    """
    name = host.lower().rstrip(".")
    try:
        return is_public(name)
    except ValueError:
        last = name.rpartition(".")[2]
        return "." in name and not last[:1].isdigit() and not name.endswith(_LOCAL_NAMES)
