"""What the guard lets through."""

import itertools
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from random import Random

import pytest
import trustme
from aiohttp import ClientSession
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from yarl import URL

from swell.errors import AddressForbidden, UpstreamBroken
from swell.net.addresses import is_public, looks_public
from swell.net.outbound import Policy, Reach, check_target, open_session, reachable, send
from swell.net.reach import ClientCertificate, client_certificate, trusting
from swell.settings import SettingsInvalid

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
    """Each is a way to this machine, others in its network, or its cloud's credentials."""
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
    """A name that merely contains an allowed one may belong to another owner."""
    assert Policy(frozenset({allowed})).allows(URL(url)) is expected


@pytest.mark.parametrize(
    ("allowed", "url"),
    [
        ("registry.corp", "https://registry.corp./v2/"),
        ("registry.corp", "https://sub.registry.corp/v2/"),
        ("registry.corp", "https://registry.corp%2eevil.org/v2/"),
        ("registry.corp:5000", "https://registry.corp:50001/v2/"),
        ("registry.corp:5000", "https://registry.corp/v2/"),
        ("10.0.0.1", "https://10.0.0.1.evil.org/v2/"),
        ("10.0.0.1", "https://10.0.0.10/v2/"),
        ("10.0.0.1", "https://0xa000001/v2/"),
        ("::1", "https://[::1]/v2/"),
    ],
)
def test_an_allowed_host_opens_nothing_else(allowed: str, url: str) -> None:
    """Neither another port nor another spelling."""
    assert not Policy(frozenset({allowed})).allows(URL(url))


@pytest.mark.parametrize(
    "host",
    [
        *(f"[{address}]" if ":" in address else address for address in FORBIDDEN if "%" not in address),
        "localhost",
        "localhost.",
        "sub.localhost",
        "registry",
        "metadata.google.internal",
        "METADATA.Google.Internal.",
        "printer.local",
        "kubernetes.default.svc",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "127.0.0.1..",
        "evil.org.127",
    ],
)
def test_a_name_for_a_proxy_to_resolve_must_look_public(host: str) -> None:
    """What resolvers read as numbers, and what only a local network knows, is not asked of the operator's proxy."""
    assert not looks_public(URL(f"http://{host}/").host or "")


@pytest.mark.parametrize("host", ["quay.io", "1password.com", "ghcr.io.", "8.8.8.8", "2606:4700:4700::1111"])
def test_a_public_looking_name_is_asked_of_the_proxy(host: str) -> None:
    """More cannot be known: the proxy resolves it, and its operator's rules decide."""
    assert looks_public(host)


@given(st.ip_addresses())
def test_a_proxy_is_asked_for_no_literal_that_we_would_not_connect_to(address: IPv4Address | IPv6Address) -> None:
    """The way through a proxy is no wider than the direct one."""
    assert looks_public(str(address)) == is_public(str(address))


@pytest.mark.parametrize(
    ("no_proxy", "url", "expected"),
    [
        ((), "http://quay.io/", "http://proxy:1"),
        ((), "https://quay.io/", "http://proxy:2"),
        (("quay.io",), "https://quay.io/", None),
        (("quay.io",), "https://cdn.QUAY.io/", None),
        ((".quay.io",), "https://cdn.quay.io/", None),
        (("quay.io",), "https://notquay.io/", "http://proxy:2"),
        (("*",), "https://quay.io/", None),
        ((), "http://localhost:9500/", None),
        ((), "http://127.0.0.1:9500/", None),
    ],
)
def test_a_proxy_is_asked_unless_the_settings_exclude_it(
    no_proxy: tuple[str, ...], url: str, expected: str | None
) -> None:
    """As other programs read these settings."""
    reach = Reach(http_proxy="http://proxy:1", https_proxy="http://proxy:2", no_proxy=no_proxy)

    assert reach.proxy_for(URL(url)) == (URL(expected) if expected else None)


@pytest.mark.parametrize("proxy", ["proxy:3128", "https://proxy:3128", "socks5://proxy", "http://"])
async def test_a_proxy_that_is_none_stops_the_service(proxy: str) -> None:
    """At its start, and not at the first pull."""
    with pytest.raises(SettingsInvalid, match="SWELL_HTTPS_PROXY"):
        open_session(Policy(), Reach(https_proxy=proxy))


@pytest.mark.parametrize("name", ["connect_timeout", "answer_timeout", "idle_timeout"])
async def test_no_time_at_all_stops_the_service(name: str) -> None:
    """Else nothing could ever be reached."""
    with pytest.raises(SettingsInvalid, match=f"SWELL_{name.upper()}"):
        open_session(Policy(), structs.replace(Reach(), **{name: timedelta(0)}))


async def test_a_file_without_certificates_stops_the_service(tmp_path: Path) -> None:
    """The message names the variable."""
    (tmp_path / "ca.pem").write_text("nonsense")

    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(SettingsInvalid, match="SWELL_CA_FILE"):
            open_session(Policy(), Reach(ca_file=tmp_path / name))


def test_a_certificate_needs_a_key_and_a_key_its_certificate() -> None:
    """A service that was given half of the pair must not connect without a certificate."""
    certificate, key = Path("tls.crt"), Path("tls.key")

    assert client_certificate("SWELL_NATS", None, None) is None
    assert client_certificate("SWELL_NATS", certificate, key) == ClientCertificate(
        "SWELL_NATS_CERTIFICATE_FILE and SWELL_NATS_CERTIFICATE_KEY_FILE", certificate, key
    )
    for half in ((certificate, None), (None, key)):
        with pytest.raises(SettingsInvalid, match="set SWELL_NATS_CERTIFICATE_FILE and SWELL_NATS_CERTIFICATE_KEY"):
            client_certificate("SWELL_NATS", *half)


def test_a_certificate_is_sent_only_with_its_own_key(tmp_path: Path) -> None:
    """The message names both variables."""
    authority = trustme.CA()
    for name in ("one", "other"):
        issued = authority.issue_cert(f"{name}.example")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    variables = "SWELL_REDIS_CERTIFICATE_FILE and SWELL_REDIS_CERTIFICATE_KEY_FILE"

    trusting(None, ClientCertificate(variables, tmp_path / "one.pem", tmp_path / "one.key"))

    for key in ("other.key", "absent.key"):
        with pytest.raises(SettingsInvalid, match=variables):
            trusting(None, ClientCertificate(variables, tmp_path / "one.pem", tmp_path / key))


class Resolver(AbstractResolver):
    """Says that every name has *addresses*."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        families = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=families[ip_address(address).version],
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
async def session() -> AsyncIterator[ClientSession]:
    """A session that allows public addresses only. It is shared because reading the system's certificates is slow."""
    async with open_session(Policy()) as opened:
        yield opened


@pytest.fixture(scope="module")
async def resolved() -> AsyncIterator[tuple[ClientSession, Resolver]]:
    """A session, and the resolver that decides the addresses of a name. The session caches them: use each name once."""
    resolver = Resolver()
    async with open_session(Policy(frozenset({"other.example"})), resolver=resolver) as opened:
        yield opened, resolver


numbers = itertools.count()
private = st.one_of(
    st.sampled_from([address for address in FORBIDDEN if "%" not in address]),
    st.ip_addresses().map(str).filter(lambda address: not is_public(address)),
)


@given(st.lists(private, min_size=1, max_size=4))
async def test_a_name_is_worth_its_addresses(resolved: tuple[ClientSession, Resolver], addresses: list[str]) -> None:
    """However many it has: no socket is opened for any that is not public."""
    session, resolver = resolved
    resolver.addresses = tuple(addresses)
    with pytest.raises(AddressForbidden):
        await send(session, "GET", URL(f"http://registry-{next(numbers)}.example/"), {})


@given(st.lists(private, min_size=1, max_size=3), st.lists(st.just("93.184.215.14"), max_size=2), st.randoms())
async def test_no_client_is_sent_to_a_name_with_a_forbidden_address(
    resolved: tuple[ClientSession, Resolver], addresses: list[str], more: list[str], order: Random
) -> None:
    """One is enough: the client connects to any of them."""
    session, resolver = resolved
    mixed = [*addresses, *more]
    order.shuffle(mixed)
    resolver.addresses = tuple(mixed)

    with pytest.raises(AddressForbidden):
        await check_target(session, URL(f"https://storage-{next(numbers)}.example/"), URL("https://registry.example/"))


async def test_clients_are_sent_to_public_addresses(resolved: tuple[ClientSession, Resolver]) -> None:
    """Registries keep their blobs at other hosts."""
    session, resolver = resolved
    resolver.addresses = ("93.184.215.14", "2606:4700::1")

    await check_target(session, URL(f"https://storage-{next(numbers)}.example/"), URL("https://registry.example/"))


async def test_a_session_without_a_guard_checks_nothing() -> None:
    """Clients of this library use their own sessions, for servers that they trust."""
    async with ClientSession() as session:
        await check_target(session, URL("https://10.0.0.1/"), URL("https://registry.example/"))


@pytest.mark.parametrize(
    "host",
    [
        "2130706433:9",
        "0x7f000001:9",
        "0x7f.1:9",
        "127.1:9",
        "0177.0.0.1:9",
        "127。0。0。1:9",
        "１２７.０.０.１:9",
        "①②⑦.⓪.⓪.①:9",
        "localhost:9",
        "LOCALHOST:9",
        "[::ffff:7f00:1]:9",
        "[64:ff9b::7f00:1]:9",
        "[2002:7f00:1::]:9",
    ],
)
async def test_no_spelling_of_this_machine_gets_through(session: ClientSession, host: str) -> None:
    """What the resolver makes of it is what counts."""
    with pytest.raises(AddressForbidden):
        await send(session, "GET", URL(f"http://{host}/"), {})


async def test_a_name_that_cannot_be_spelt_is_no_host(session: ClientSession) -> None:
    """No part of a name has more than 63 letters; a registry may send us to such a place, and a client may name one."""
    with pytest.raises(UpstreamBroken, match="there is no host"):
        await send(session, "GET", URL(f"http://{'a' * 64}.org/"), {})


@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]:9", "[::ffff:127.0.0.1]:9", "169.254.169.254", "0.0.0.0:9"])
async def test_a_literal_address_is_checked_before_a_socket_is_opened(session: ClientSession, host: str) -> None:
    """Literals pass no resolver: a check there would miss them."""
    with pytest.raises(AddressForbidden):
        await send(session, "GET", URL(f"http://{host}/"), {})


@pytest.mark.parametrize(
    ("text", "is_reachable"),
    [
        ("http://a.example/x", True),
        (f"http://{63 * 'a'}.example/", True),
        (f"http://{64 * 'a'}.example/", False),
        ("http://a..example/", False),
        ("http://a.example./", True),
        ("http:///x", False),
        ("/x", False),
        ("http://[", False),
    ],
)
def test_only_a_host_that_can_exist_is_reachable(text: str, is_reachable: bool) -> None:
    """A part of a name has 1 to 63 letters (RFC 1035); with any other, looking it up fails in an unforeseen way."""
    assert (reachable(text) is not None) is is_reachable
