"""The ways to log in at NATS, each at a real server: TLS, client certificates, credentials files, keys, passwords."""

import base64
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import nkeys  # type: ignore[import-untyped]
import pytest

from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.settings import NatsSettings
from swell.settings import SettingsInvalid
from swell_embedded.ports import Ports
from tests.certificates import Certificates
from tests.e2e.upstreams import running
from tests.nats_cluster import LOGIN, server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def nats_server(home: Path, config: str = "") -> AsyncIterator[int]:
    port = Ports.free().nats
    async with running(server("nats", home, port, more=config), home):
        yield port


async def streams_at(settings: NatsSettings, ca_file: Path | None = None) -> int:
    """How many streams a client finds that connects with *settings*."""
    async with streams.connect(settings, "test", ca_file, within=timedelta(seconds=3)) as nats:
        return len(await nats.stream.streams_info())


async def test_a_password_is_percent_decoded(tmp_path: Path) -> None:
    """Random passwords have characters that a URL cannot contain."""
    async with nats_server(tmp_path) as port:
        assert await streams_at(NatsSettings(url=f"nats://{LOGIN}@127.0.0.1:{port}")) == 4


async def test_one_of_several_servers_is_enough(tmp_path: Path) -> None:
    """The others may be down when a service starts."""
    async with nats_server(tmp_path) as port:
        url = f"nats://{LOGIN}@127.0.0.1:{Ports.free().nats},nats://{LOGIN}@127.0.0.1:{port}"
        assert await streams_at(NatsSettings(url=url)) == 4


async def test_a_wrong_password_is_named(tmp_path: Path) -> None:
    """A server that does not answer is another problem."""
    async with nats_server(tmp_path) as port:
        with pytest.raises(Unavailable, match="Authorization Violation"):
            await streams_at(NatsSettings(url=f"nats://swell:wrong@127.0.0.1:{port}"))


async def test_a_private_authority_and_a_client_certificate(tmp_path: Path, certificates: Certificates) -> None:
    """The server asks for a certificate of its authority, and the client trusts no other one."""
    (certificate, key), (client, client_key) = certificates.server, certificates.client
    files = f'cert_file: "{certificate}", key_file: "{key}", ca_file: "{certificates.ca_file}"'
    async with nats_server(tmp_path, f"tls {{ {files}, verify: true }}") as port:
        url = f"tls://127.0.0.1:{port}"
        settings = NatsSettings(url=url, certificate_file=client, certificate_key_file=client_key)
        assert await streams_at(settings, certificates.ca_file) == 4
        with pytest.raises(Unavailable, match="certificate"):
            await streams_at(settings)
        with pytest.raises(Unavailable):
            await streams_at(NatsSettings(url=url), certificates.ca_file)


async def test_no_password_is_sent_to_a_server_without_tls(tmp_path: Path) -> None:
    """An attacker between client and server could deny it."""
    async with nats_server(tmp_path) as port:
        with pytest.raises(Unavailable, match=r"127\.0\.0\.1 has no TLS"):
            await streams_at(NatsSettings(url=f"tls://{LOGIN}@127.0.0.1:{port}"))


async def test_an_nkey(tmp_path: Path) -> None:
    """The server knows the public key; the seed is in a file."""
    pair, path = new_key(b"U", tmp_path / "user.nk")
    config = f'authorization {{ users: [{{ nkey: "{pair.public_key.decode()}" }}] }}'
    async with nats_server(tmp_path, config) as port:
        assert await streams_at(NatsSettings(url=f"nats://127.0.0.1:{port}", nkey_seed_file=path)) == 4


async def test_a_credentials_file(tmp_path: Path) -> None:
    """A JWT of an account and the seed of its key, as `nsc` writes them."""
    kinds = {"operator": b"O", "system": b"A", "account": b"A", "user": b"U"}
    operator, system, account, user = (new_key(kind, tmp_path / name)[0] for name, kind in kinds.items())
    limits = dict.fromkeys(("subs", "data", "payload", "conn", "leaf", "imports", "exports", "streams", "consumer"), -1)
    limits |= {"mem_storage": -1, "disk_storage": -1, "wildcards": True}
    jwts = {
        "operator": signed(operator, operator, {"type": "operator"}),
        "system": signed(operator, system, {"type": "account"}),
        "account": signed(operator, account, {"type": "account", "limits": limits}),
        "user": signed(account, user, {"type": "user", "subs": -1, "data": -1, "payload": -1}),
    }
    names = {kind: pair.public_key.decode() for kind, pair in (("system", system), ("account", account))}
    accounts = ", ".join(f'{name}: "{jwts[kind]}"' for kind, name in names.items())
    config = f"""
        operator: "{jwts["operator"]}"
        system_account: {names["system"]}
        resolver: MEMORY
        resolver_preload: {{ {accounts} }}
    """
    credentials = tmp_path / "user.creds"
    credentials.write_text(
        f"-----BEGIN NATS USER JWT-----\n{jwts['user']}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )
    async with nats_server(tmp_path, config) as port:
        assert await streams_at(NatsSettings(url=f"nats://127.0.0.1:{port}", credentials_file=credentials)) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "http://host"}, "SWELL_NATS_URL"),
        ({"url": "nats://:secret@"}, "SWELL_NATS_URL"),
        ({"url": "nats://a:b@one,nats://a:c@two"}, "one login"),
        ({"url": "nats://a:b@one", "credentials_file": Path(__file__)}, "one login"),
        ({"url": "nats://one", "credentials_file": Path("/missing")}, "SWELL_NATS_CREDENTIALS_FILE"),
        ({"url": "nats://one", "certificate_file": Path(__file__)}, "SWELL_NATS_CERTIFICATE_KEY_FILE"),
    ],
)
async def test_a_wrong_setting_is_named(settings: dict[str, Any], message: str) -> None:
    """And no password is shown."""
    with pytest.raises(SettingsInvalid, match=message) as caught:
        await streams_at(NatsSettings(**settings))
    assert "secret" not in str(caught.value)


def new_key(kind: bytes, path: Path) -> tuple[nkeys.KeyPair, Path]:
    """A new key of a user, an account or an operator (`U`, `A`, `O`), and the file of its seed."""
    prefixes = {b"U": nkeys.PREFIX_BYTE_USER, b"A": nkeys.PREFIX_BYTE_ACCOUNT, b"O": nkeys.PREFIX_BYTE_OPERATOR}
    seed = nkeys.encode_seed(hashlib.sha256(str(path).encode()).digest(), prefixes[kind])
    path.write_bytes(seed)
    return nkeys.from_seed(bytearray(seed)), path


def signed(issuer: nkeys.KeyPair, subject: nkeys.KeyPair, fields: dict[str, object]) -> str:
    """A JWT about *subject*.

    Source: https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
    """
    claims = {
        "iss": issuer.public_key.decode(),
        "sub": subject.public_key.decode(),
        "name": "test",
        "iat": 1,
        "nats": {"version": 2, **fields},
    }
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
    body = b".".join(map(_encoded, ({"typ": "JWT", "alg": "ed25519-nkey"}, claims)))
    return b".".join((body, base64.urlsafe_b64encode(issuer.sign(body)).rstrip(b"="))).decode()


def _encoded(value: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")
