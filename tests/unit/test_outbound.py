"""What the guard lets through."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from swell.addresses import is_public
from swell.errors import AddressForbidden
from swell.outbound import Policy, open_session, send

FORBIDDEN = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",  # Alibaba's metadata
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",  # Azure's
    "169.254.169.254",
    "169.254.170.2",
    "172.31.255.255",
    "192.0.0.192",  # Oracle's
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "2001:db8::1",
    "2001::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", FORBIDDEN)
def test_an_address_of_no_public_network_is_refused(address: str) -> None:
    """Each is a way to this machine, its neighbours or its cloud's credentials."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "2606:4700:4700::1111", "64:ff9b::808:808"])
def test_a_public_address_is_let_through(address: str) -> None:
    """Through NAT64 too: on networks without IPv4 it is the only road to a registry that has nothing else."""
    assert is_public(address)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6, network="2000::/3")))
def test_nothing_is_public_that_the_standard_library_calls_otherwise(address: IPv4Address | IPv6Address) -> None:
    """Our table may be stricter than Python's, which differs between versions, but never laxer."""
    assert not is_public(str(address)) or (address.is_global and not address.is_multicast)


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_inside_a_nat64_one_counts_as_itself(address: IPv4Address) -> None:
    """Else a name with such a record would lead to a private network behind the translator."""
    inside = IPv6Address(int(ip_address("64:ff9b::")) | int(address))

    assert is_public(str(inside)) == is_public(str(address))


@pytest.mark.parametrize(
    ("allowed", "url", "expected"),
    [
        ("localhost:5000", "http://localhost:5000/v2/", True),
        ("localhost:5000", "http://localhost:5001/v2/", False),
        ("localhost", "http://localhost:5001/v2/", True),
        ("registry.corp:443", "https://registry.corp/v2/", True),
        ("registry.corp:443", "http://registry.corp/v2/", False),
        ("registry.corp", "https://Registry.Corp/v2/", True),
        ("registry.corp", "https://registry.corp.evil.org/v2/", False),
        ("registry.corp", "https://registry.corp@evil.org/v2/", False),
        ("[::1]:5000", "http://[::1]:5000/v2/", True),
    ],
)
def test_an_allowed_host_is_matched_as_a_whole(allowed: str, url: str, expected: bool) -> None:
    """A name that merely contains an allowed one is somebody else's."""
    assert Policy(frozenset({allowed})).allows(URL(url)) is expected


@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9", "169.254.169.254", "0.0.0.0:9"])
async def test_a_literal_address_is_checked_before_a_socket_is_opened(host: str) -> None:
    """Literals pass no resolver: a check there would miss them."""
    async with open_session(Policy()) as session:
        with pytest.raises(AddressForbidden):
            await send(session, "GET", URL(f"http://{host}/"), {})
