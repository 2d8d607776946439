"""The real backends as a stack runs them: closed, on loopback, keeping what they were given."""

import asyncio
import io
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from signal import Signals
from urllib.parse import urlsplit

import aiohttp
import minio
import nats
import pytest
import redis.asyncio
import redis.exceptions
import urllib3
from minio.error import S3Error
from nats.aio.client import Client
from nats.js.api import StreamConfig
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from yarl import URL

from swell.oci.digest import digest_of
from swell.oci.media_types import OCI_MANIFEST
from swell_embedded.backends import BACKENDS
from swell_embedded.errors import CannotStart
from swell_embedded.ports import Ports
from swell_embedded.processes import private_tmp
from swell_embedded.stack import Stack, open_backends, open_stack
from tests.integration.embedded.processes import LOOPBACK, listening

WAITS = 300  # of 0.2 s: SeaweedFS answers before its volumes have registered with their master


@pytest.fixture(scope="module")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """All four backends."""
    async with open_backends(tmp_path_factory.mktemp("four"), environment={}) as stack:
        yield stack


def password_of(stack: Stack) -> str:
    return urlsplit(stack.env["SWELL_REDIS_URL"]).password or ""


def objects(stack: Stack, secret_key: str | None = None) -> minio.Minio:
    endpoint = stack.env["SWELL_S3_ENDPOINT"].removeprefix("http://")
    keys = stack.env["SWELL_S3_ACCESS_KEY"], secret_key or stack.env["SWELL_S3_SECRET_KEY"]
    pool = urllib3.PoolManager(retries=False, timeout=30)
    return minio.Minio(endpoint, *keys, secure=False, region="us-east-1", http_client=pool)


async def test_everything_listens_on_loopback_and_on_known_ports_only(stack: Stack) -> None:
    """Some of these servers have no password, so they must not be reachable from the network."""
    found = listening({stack.pid(name) for name in BACKENDS})

    assert {address for address, _ in found} == {LOOPBACK}
    known = {stack.ports.nats, stack.ports.redis, stack.ports.registry, *stack.ports.s3_ports}
    assert {stack.ports.nats, stack.ports.redis, stack.ports.registry, stack.ports.s3} <= {port for _, port in found}
    assert {port for _, port in found} <= known


async def test_the_registry_removes_blobs_without_an_image(tmp_path: Path) -> None:
    """At each start. Pushes that were interrupted would use the disk for ever; images stay."""
    content, config = b"a layer of no image", b"{}"
    async with open_backends(tmp_path, ["registry"], environment={}) as stack:
        registry = stack.registry
        login = aiohttp.encode_basic_auth(registry.username, registry.password)
        async with aiohttp.ClientSession(f"http://{registry.address}", headers={"Authorization": login}) as session:
            for blob in (content, config):
                await push_blob(session, blob)
            layer = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of(config), "size": 2}
            manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": layer, "layers": []}
            async with session.put("/v2/x/manifests/1", json=manifest, headers={"Content-Type": OCI_MANIFEST}) as put:
                assert put.status == 201
            assert [await has(session, blob) for blob in (content, config)] == [True, True]
            await stack.restart("registry")
            assert [await has(session, blob) for blob in (content, config)] == [False, True]


async def push_blob(session: aiohttp.ClientSession, content: bytes) -> None:
    async with session.post("/v2/x/blobs/uploads/") as opened:
        location = URL(opened.headers["Location"])
    async with session.put(location.update_query(digest=digest_of(content)), data=content) as put:
        assert put.status == 201


async def has(session: aiohttp.ClientSession, content: bytes) -> bool:
    async with session.head(f"/v2/x/blobs/{digest_of(content)}") as head:
        return head.status == 200


async def test_redis_requires_a_password(stack: Stack) -> None:
    """Any user of the machine can connect to loopback."""
    async with redis.asyncio.Redis(port=stack.ports.redis, retry=Retry(NoBackoff(), 0)) as stranger:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await stranger.ping()


async def test_nats_requires_a_password(stack: Stack) -> None:
    """Any user of the machine can connect to loopback."""

    async def quiet(_: Exception) -> None: ...

    stranger = Client()
    with pytest.raises(nats.errors.Error, match="Authorization"):
        await stranger.connect(f"nats://127.0.0.1:{stack.ports.nats}", allow_reconnect=False, error_cb=quiet)
    await stranger.close()


async def test_s3_refuses_a_wrong_key(stack: Stack) -> None:
    """Any user of the machine can connect to loopback."""
    with pytest.raises(minio.error.S3Error, match="AccessDenied"):
        await asyncio.to_thread(objects(stack, secret_key="another").bucket_exists, "swell-logs")


async def test_the_registry_requires_a_password(stack: Stack) -> None:
    """Images of one user are not for every user of the machine."""
    async with aiohttp.ClientSession() as session, session.get(f"http://{stack.registry.address}/v2/") as answer:
        assert answer.status == 401


@pytest.mark.parametrize(
    ("file", "path", "complaint"),
    [("pull", "swell/build", "unauthorized"), ("pull", "library/none", "404"), ("push", "swell/build", "404")],
)
async def test_the_pull_file_gives_no_access_to_builds(stack: Stack, file: str, path: str, complaint: str) -> None:
    """A user's FROM uses the pull file, which must not give access to other users' builds."""
    repository = f"docker://{stack.registry.address}/{path}"
    auth_file = stack.env[f"SWELL_{file.upper()}_AUTH_FILE"]
    asking = await asyncio.create_subprocess_exec(
        *("skopeo", "list-tags", "--tls-verify=false", "--authfile", auth_file, repository),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asking.communicate()

    assert complaint in said.decode().lower()


async def test_data_survives_a_restart(tmp_path: Path) -> None:
    """A second run in the same home folder has the same data, on any ports."""
    async with open_backends(tmp_path, environment={}) as stack:
        await _store(stack)
        passwords = stack.registry.password

    async with open_backends(tmp_path, environment={}) as stack:
        await _expect_stored(stack)
        assert stack.registry.password == passwords


async def test_data_survives_kill_9(tmp_path: Path) -> None:
    """The backends may lose only writes that are not synced yet."""
    async with open_backends(tmp_path, ("nats", "redis", "s3"), environment={}) as stack:
        await _store(stack)
        for name in ("nats", "redis", "s3"):
            stack.kill(name)
            await stack.restart(name)

        await _expect_stored(stack)


async def _store(stack: Stack) -> None:
    async with redis.asyncio.Redis.from_url(stack.env["SWELL_REDIS_URL"]) as client:
        await client.set("kept", "in redis")
    connection = await nats.connect(stack.env["SWELL_NATS_URL"])
    await connection.jetstream().add_stream(StreamConfig(name="kept", subjects=["kept"]))
    await connection.jetstream().publish("kept", b"in nats")
    await connection.close()
    await asyncio.to_thread(objects(stack).put_object, "swell-logs", "kept", io.BytesIO(b"in s3"), 5)


async def _expect_stored(stack: Stack) -> None:
    async with redis.asyncio.Redis.from_url(stack.env["SWELL_REDIS_URL"]) as client:
        assert await client.get("kept") == b"in redis"
    connection = await nats.connect(stack.env["SWELL_NATS_URL"])
    assert (await connection.jetstream().get_msg("kept", 1)).data == b"in nats"
    await connection.close()
    for _ in range(WAITS):
        if (found := await asyncio.to_thread(_in_s3, stack)) is not None:
            break
        await asyncio.sleep(0.2)
    assert found == b"in s3"


def _in_s3(stack: Stack) -> bytes | None:
    """None while it cannot be read yet."""
    try:
        found = objects(stack).get_object("swell-logs", "kept")
    except S3Error as error:
        if error.code != "InternalError":
            raise
        return None
    content = found.read()
    found.release_conn()
    return content


@pytest.mark.parametrize("is_possible", [True, False])
async def test_a_stack_leaves_nothing_outside_its_home(
    is_possible: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SeaweedFS creates Unix sockets named after its ports, in the home folder.

    Where mounts are forbidden, the stack removes them from /tmp, also after kill -9.
    """
    monkeypatch.setattr(private_tmp, "is_possible", lambda _: is_possible)
    async with open_backends(tmp_path, ["s3"], environment={}) as stack:
        ports = stack.ports.s3_ports
        assert bool(sockets(ports)) is not is_possible
        stack.kill("s3")
    assert not sockets(ports)


@pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")
async def test_stacks_with_equal_ports_in_two_network_namespaces_do_not_share_data(tmp_path: Path) -> None:
    """SeaweedFS prefers Unix sockets named after ports to the ports: a shared /tmp would mix the data."""
    async with isolated_store(tmp_path / "a") as one, isolated_store(tmp_path / "b") as other:
        for store, content in ((one, b"of a"), (other, b"of b")):
            await answer(store, content)
        assert [await answer(store, b"") for store in (one, other)] == [b"of a", b"of b"]


@asynccontextmanager
async def isolated_store(home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `isolated_store` in a network namespace that has only loopback."""
    up = 'ip link set lo up && exec "$@"'
    program = (sys.executable, "-m", "tests.integration.embedded.isolated_store", str(home))
    command = ("unshare", "--net", "--", "sh", "-c", up, "sh", *program)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 60)


async def answer(store: asyncio.subprocess.Process, content: bytes) -> bytes:
    """Store *content* if it is not empty; return what is stored."""
    assert store.stdin
    assert store.stdout
    store.stdin.write(content + b"\n")
    return (await asyncio.wait_for(store.stdout.readline(), 90)).strip()


def sockets(ports: Iterable[int]) -> list[Path]:
    return [path for port in ports for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock")]


async def test_two_stacks_live_side_by_side(tmp_path: Path) -> None:
    """Each has its own ports and passwords: one's key does not open the other."""
    async with (
        open_backends(tmp_path / "a", ["redis"], environment={}) as one,
        open_backends(tmp_path / "b", ["redis"], environment={}) as other,
        redis.asyncio.Redis.from_url(one.env["SWELL_REDIS_URL"]) as client,
    ):
        assert one.ports.redis != other.ports.redis
        assert await client.ping()
        with pytest.raises(redis.exceptions.AuthenticationError):
            await client.auth(password_of(other))


async def test_one_home_is_for_one_stack(tmp_path: Path) -> None:
    """Two servers that append to one file damage it."""
    async with open_backends(tmp_path, [], environment={}):
        with pytest.raises(CannotStart, match="another Swell is running in"):
            async with open_backends(tmp_path, [], environment={}):
                raise AssertionError("the second must not start")


async def test_a_configured_server_replaces_the_embedded_one(stack: Stack, tmp_path: Path) -> None:
    """A configured server is used, and no embedded one starts."""
    theirs = {name: stack.env[name] for name in ("SWELL_NATS_URL", "SWELL_BUILD_REPOSITORY", "SWELL_S3_ENDPOINT")}
    keys = {name: stack.env[name] for name in ("SWELL_S3_ACCESS_KEY", "SWELL_S3_SECRET_KEY")}

    async with open_stack(tmp_path, Ports.free(), [], environment=theirs | keys) as mixed:
        assert mixed.pid("redis")
        for name in ("nats", "s3", "registry"):
            with pytest.raises(KeyError):
                mixed.pid(name)
        assert mixed.env.items() >= theirs.items()


async def test_a_taken_port_is_named_before_anything_starts(tmp_path: Path) -> None:
    """The operator reads which port, what for, and whom to end."""
    ports = Ports.free()
    sentence = rf"port {ports.redis} \(for redis\) is in use by .*\(pid {os.getpid()}\).*make up PORTS=\+1000"
    with socket.create_server(("127.0.0.1", ports.redis)), pytest.raises(CannotStart, match=sentence):
        async with open_stack(tmp_path, ports, [], environment={}):
            raise AssertionError("nothing must start")

    assert not any(os.scandir(tmp_path / "logs"))


async def test_a_missing_command_is_named_with_its_package(tmp_path: Path) -> None:
    """The operator reads what to install, and how."""
    with pytest.raises(CannotStart, match=r"lacks docker-registry.*`make system`, or `apt-get install docker-registry"):
        async with open_stack(tmp_path, Ports.free(), [], environment={"PATH": str(tmp_path)}):
            raise AssertionError("nothing must start")


async def test_a_stopped_backend_comes_back_on_its_port(tmp_path: Path) -> None:
    """Clients that know the address find it again."""
    async with open_backends(tmp_path, ["redis"], environment={}) as stack:
        before = stack.pid("redis")
        stack.kill("redis", Signals.SIGTERM)
        await stack.restart("redis")

        assert stack.pid("redis") != before
        async with redis.asyncio.Redis.from_url(stack.env["SWELL_REDIS_URL"]) as client:
            assert await client.ping()
