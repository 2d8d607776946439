"""What the tests of the registry-proxy's edges share."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.outbound import Policy, open_session
from swell.registry.credentials import Keyring
from swell.store.objects import S3Objects, connect
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
    """One that may connect to 127.0.0.1."""
    async with open_session(Policy(frozenset({"127.0.0.1"}))) as session:
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
    async with connect(s3.endpoint, s3.access_key, s3.secret_key, "swell-layers") as objects:
        yield objects
