"""The object store behind TLS, in another region, with other names of buckets, and with credentials of a role."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from aiohttp import web
from minio.credentials.providers import Provider
from msgspec import structs
from yarl import URL

from swell.errors import Unavailable
from swell.settings import SettingsInvalid
from swell.store.connections import s3_credentials
from swell.store.connections.s3_credentials import Renewed, credentials_of
from swell.store.connections.settings import Addressing, S3Settings
from swell.store.s3_objects import client_of, connect
from swell.testing.cutting_proxy import cutting_proxy
from swell_embedded.stack import Stack
from tests.certificates import Certificates
from tests.stores import s3_of

AWS = "https://s3.eu-west-1.amazonaws.com"
OF_AWS = [
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCESS_KEY",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_REGION",
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials of this machine."""
    for name in OF_AWS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def known(backends: Stack) -> S3Settings:
    return s3_of(backends.env)


@pytest.fixture
def without_keys(known: S3Settings) -> S3Settings:
    return structs.replace(known, access_key="", secret_key="")


async def stored(settings: S3Settings, ca_file: Path | None = None) -> bytes | None:
    """Store an object in a new bucket, and read it in the three ways that the services use."""
    async with connect(settings, f"named-{uuid4().hex}", ca_file) as objects:
        await objects.put("key", b"content")
        assert await objects.size("key") == len(b"content")
        async with objects.open("key") as pieces:
            assert b"".join([piece async for piece in pieces]) == b"content"
        return await objects.get("key")


async def test_another_region(known: S3Settings) -> None:
    """It is part of each signature, of the SDK's and of our own requests."""
    assert await stored(structs.replace(known, region="eu-west-1")) == b"content"


async def test_a_private_authority(known: S3Settings, tmp_path: Path) -> None:
    """The SDK, and the requests that we send ourselves, trust it; without it, both refuse the server."""
    certificates = Certificates(tmp_path)
    tls = certificates.for_server(asks_for_certificate=False)
    async with cutting_proxy(known.endpoint.removeprefix("http://"), tls=tls) as proxy:
        secure = structs.replace(known, endpoint=f"https://{proxy.authority}")
        assert await stored(secure, certificates.ca_file) == b"content"
        with pytest.raises(Unavailable):
            await stored(secure)


@pytest.mark.parametrize(
    ("endpoint", "addressing", "url"),
    [
        ("http://minio:9000", Addressing.AUTO, "http://minio:9000/b-1/key"),
        ("http://minio:9000", Addressing.PATH, "http://minio:9000/b-1/key"),
        ("http://minio:9000", Addressing.VIRTUAL, "http://b-1.minio:9000/key"),
        (AWS, Addressing.AUTO, "https://b-1.s3.eu-west-1.amazonaws.com/key"),
        (AWS, Addressing.VIRTUAL, "https://b-1.s3.eu-west-1.amazonaws.com/key"),
        (AWS, Addressing.PATH, "https://s3.eu-west-1.amazonaws.com/b-1/key"),
    ],
)
def test_the_name_of_a_bucket_is_where_the_server_expects_it(endpoint: str, addressing: Addressing, url: str) -> None:
    """In the path, or in the name of the host."""
    settings = S3Settings(endpoint=endpoint, access_key="a", secret_key="b", region="eu-west-1", addressing=addressing)
    client = client_of(endpoint, settings, credentials_of(settings))

    signed = URL(client.presigned_get_object("b-1", "key"), encoded=True)

    assert str(signed.with_query(None)) == url


async def test_the_variables_of_aws(
    known: S3Settings, without_keys: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first source of the chain."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", known.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", known.secret_key)

    assert await stored(without_keys) == b"content"


async def test_the_shared_file_of_aws(known: S3Settings, without_keys: S3Settings, tmp_path: Path) -> None:
    """Below the home folder, with its default profile."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/credentials").write_text(
        f"[default]\naws_access_key_id = {known.access_key}\naws_secret_access_key = {known.secret_key}\n"
    )

    assert await stored(without_keys) == b"content"


@asynccontextmanager
async def container_credentials(known: S3Settings, life: timedelta) -> AsyncIterator[tuple[str, list[str]]]:
    """The server that gives credentials to a container: its URL, and the paths that were asked for."""
    asked: list[str] = []

    async def give(request: web.Request) -> web.Response:
        asked.append(request.path)
        expiration = (datetime.now(UTC) + life).strftime("%Y-%m-%dT%H:%M:%SZ")
        fields = {"AccessKeyId": known.access_key, "SecretAccessKey": known.secret_key, "Token": ""}
        return web.Response(text=json.dumps(fields | {"Expiration": expiration}))

    app = web.Application()
    app.router.add_get("/role", give)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/role", asked
    finally:
        await runner.cleanup()


async def test_credentials_that_end_are_fetched_again(
    known: S3Settings, without_keys: S3Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before they end; no request waits for that."""
    monkeypatch.setattr(s3_credentials, "_AGAIN", 0.1)
    async with container_credentials(known, life=s3_credentials.EARLY + timedelta(seconds=1)) as (url, asked):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", url)
        async with connect(without_keys, known.layers_bucket) as objects, asyncio.timeout(60):
            while len(asked) < 3:
                await objects.put("key", b"content")

    assert set(asked) == {"/role"}


def test_credentials_are_never_awaited_in_the_event_loop() -> None:
    """Signing a link is no request: it uses the last credentials."""
    renewed = credentials_of(S3Settings(endpoint=AWS))

    assert isinstance(renewed, Renewed)
    with pytest.raises(ValueError, match="no credentials"):
        renewed.retrieve()


def test_a_chain_without_credentials_is_named() -> None:
    """The operator learns what to set."""

    class Empty(Provider):
        def retrieve(self) -> object:  # type: ignore[override]
            raise ValueError("none")

    with pytest.raises(Unavailable, match="SWELL_S3_ACCESS_KEY"):
        Renewed(Empty).fetch()


def test_one_key_alone_is_refused() -> None:
    """A mistake: for a role, both are left out."""
    with pytest.raises(SettingsInvalid, match="SWELL_S3_SECRET_KEY"):
        credentials_of(S3Settings(endpoint=AWS, access_key="a"))
