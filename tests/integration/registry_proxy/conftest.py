"""What the tests of the registry-proxy's edges share."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import aiohttp
import pytest
from redis.asyncio import Redis
from yarl import URL

from registry_proxy.adapters.blob_cache import BlobCache
from registry_proxy.adapters.proofs import RedisProofs
from registry_proxy.adapters.spool import open_spool
from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.access import Access
from registry_proxy.deliver.deliveries import Deliveries
from registry_proxy.handlers.blobs import BlobsHandler
from registry_proxy.handlers.server import serve_blobs
from swell.net.outbound import Policy, open_session
from swell.registry.credentials.keyring import Keyring
from swell.serve import Address
from swell.store.blobs import Blobs
from swell.store.s3_objects import S3Objects, connect
from swell_embedded.ports import Ports
from tests.integration.registry_proxy.deliver.data_port import KEY, Configs, NewPort, Port
from tests.integration.registry_proxy.support import S3, Registry, Script, docker_registry, serving, weed_mini


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with serving() as script:
        yield script


@pytest.fixture
async def other() -> AsyncIterator[Script]:
    """A second server: the same host, another port, so another origin."""
    async with serving() as script:
        yield script


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """One that may connect to 127.0.0.1, and send clients to a name that cannot be resolved here."""
    async with open_session(Policy(frozenset({"127.0.0.1", "cdn.example"}))) as session:
        yield session


@pytest.fixture
async def upstream(session: aiohttp.ClientSession) -> RegistryUpstream:
    """Without credentials."""
    return RegistryUpstream(session, Keyring())


@pytest.fixture(scope="session")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    async with docker_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="session")
async def s3(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[S3]:
    async with weed_mini(tmp_path_factory.mktemp("s3")) as s3:
        yield s3


@pytest.fixture(scope="session")
async def s3_objects(s3: S3) -> AsyncIterator[S3Objects]:
    async with connect(s3.settings, "swell-layers") as objects:
        yield objects


@pytest.fixture
def new_port(script: Script, upstream: RegistryUpstream, s3: S3, redis: Redis, tmp_path: Path) -> NewPort:
    """Opens a replica: they share the store and Redis, not their disks."""
    prefix = f"{uuid.uuid4().hex}/"

    @asynccontextmanager
    async def make(
        public: str | None = None,
        room: int = 1 << 30,
        upstream: RegistryUpstream = upstream,
        idle_lifetime: timedelta = timedelta(minutes=1),
    ) -> AsyncIterator[Port]:
        access = Access(upstream, RedisProofs(redis))
        where = Address("127.0.0.1", Ports.free().data)
        home = tmp_path / uuid.uuid4().hex
        async with connect(s3.settings, "swell-layers", public_endpoint=public) as objects:
            layers, cache = Blobs(objects), BlobCache(Blobs(objects, prefix), redis, days=30)
            with open_spool(home, room) as spool:
                deliveries = Deliveries(Configs(), layers, cache, upstream, spool, access, idle_lifetime=idle_lifetime)
                async with cache, deliveries, serve_blobs(BlobsHandler(deliveries, KEY), where, grace=1):
                    yield Port(URL(f"http://127.0.0.1:{where.port}"), script, layers, cache, home, spool)

    return make


@pytest.fixture
async def port(new_port: NewPort) -> AsyncIterator[Port]:
    async with new_port() as port:
        yield port


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client
