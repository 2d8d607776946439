"""Which addresses and names are of the public internet, at the edges of every network that is not."""

from ipaddress import ip_address, ip_network

import pytest
from yarl import URL

from swell.errors import BadRequest
from swell.net.addresses import client_network, is_loopback, is_public, looks_public, parse_address, parse_url

REFUSED = [
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
]
"""IANA's special-purpose registries, and the address of Azure's metadata service; written down here once more."""


@pytest.mark.parametrize("text", REFUSED)
def test_a_special_network_ends_where_iana_says(text: str) -> None:
    """Its first and last address are refused; the addresses before and after it are public."""
    network = ip_network(text)
    first, last = network[0], network[-1]

    assert not is_public(str(first))
    assert not is_public(str(last))
    for adjacent in (int(first) - 1, int(last) + 1):
        if 0 < adjacent < 2**network.max_prefixlen:
            address = ip_address(adjacent) if network.version == 4 else type(first)(adjacent)
            assert is_public(str(address))


@pytest.mark.parametrize("address", ["1fff:ffff::1", "4000::", "::1", "ffff::1"])
def test_only_global_unicast_is_public(address: str) -> None:
    """2000::/3 is all that is routed; the rest is local, multicast or reserved."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["64:ff9b::101:101", "64:ff9b::808:808"])
def test_all_32_bits_of_a_nat64_address_count(address: str) -> None:
    """The translator connects to what the last four bytes say."""
    assert is_public(address)
    assert is_public("64:ff9b::a83f:8111")
    assert not is_public("64:ff9b::a83f:8110")
    assert not is_public("64:ff9b::ffff:ffff")
    assert not is_public("64:ff9b:0:0:0:1:808:808")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.255.0.1", True),
        ("::1", True),
        ("128.0.0.1", False),
        ("localhost.example.org", False),
        ("10.0.0.1", False),
        ("", False),
    ],
)
def test_this_machine_is_known_by_its_spelling(host: str, expected: bool) -> None:
    """No proxy is used for it, and no certificate is required: no other name may count."""
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "suffix",
    ["localhost", "local", "internal", "home.arpa", "localdomain", "lan", "corp", "home", "intranet", "svc"],
)
def test_names_of_local_networks_are_private(suffix: str) -> None:
    """A proxy would resolve them inside the operator's network. A public name that merely ends alike is public."""
    assert not looks_public(f"server.{suffix}")
    assert not looks_public(f"SERVER.{suffix.upper()}.")
    assert looks_public(f"server.{suffix}.example.org")
    assert looks_public(f"server.my{suffix}")


@pytest.mark.parametrize("text", ["http://a", "https://a.example/x?y#z", "http://user@a:1/", "http://[::1]/"])
def test_an_http_address_is_read(text: str) -> None:
    """Whether its host may be connected to is decided later, by its address."""
    assert parse_url(text) == URL(text)


@pytest.mark.parametrize(
    "text",
    ["", "a", "/a", "ftp://a/", "http://", "http:///x", "https://[", "http://a b/", "http://a/\n", "http://a\0/"],
)
def test_anything_else_is_the_clients_mistake(text: str) -> None:
    """It is refused with the text, shortened, before anything is connected to."""
    with pytest.raises(BadRequest, match="is no http"):
        parse_url(text)
    with pytest.raises(BadRequest) as refused:
        parse_url("x" * 10_000)
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("[::ffff:203.0.113.9]:1", "203.0.113.9"),
        ("example.org", None),
        ("example.org:80", None),
        ("", None),
        ("unix:", None),
        ("a203.0.113.9", None),
    ],
)
def test_an_address_is_read_with_or_without_its_port(text: str, address: str | None) -> None:
    """Servers and proxies write both forms, and IPv4 clients of an IPv6 socket in a third."""
    assert parse_address(text) == (ip_address(address) if address else None)


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2:ffff::]:1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("somewhere", "unknown"),
    ],
)
def test_a_client_of_ipv6_is_its_network(host: str, network: str) -> None:
    """A customer gets a /64: with limits by address, one client would have 2**64 of them."""
    assert client_network(host) == network
