"""The registry of these tests."""

from collections.abc import AsyncIterator

import pytest

from swell.net.outbound import Policy, open_session
from swell.registry.client import RegistryClient
from swell.registry.credentials.keyring import parse_auth_file
from swell.registry.credentials.principal import OPERATOR
from tests.integration.registry_proxy.support import Registry, docker_registry
from tests.integration.signing.site import Site


@pytest.fixture(scope="module")
async def registry(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Registry]:
    async with docker_registry(tmp_path_factory.mktemp("registry")) as opened:
        yield opened


@pytest.fixture
async def site(registry: Registry) -> AsyncIterator[Site]:
    async with open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        keyring = parse_auth_file(registry.auth_file)
        yield Site(registry, RegistryClient(session, keyring, actions="pull,push").acting_for(OPERATOR), session)
