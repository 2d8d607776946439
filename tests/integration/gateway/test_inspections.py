"""The gateway's questions about registries, to the registry-proxy's own handlers over real NATS and gRPC."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from gateway.adapters.registry_proxy import inspections as module
from gateway.adapters.registry_proxy.inspections import QueuedInspections, RemoteLogins
from registry_proxy.handlers.jobs import InspectJobs
from registry_proxy.handlers.registries import RegistriesHandler
from registry_proxy.inspect import Inspector
from swell.errors import AddressForbidden, BadRequest, ManifestUnknown, Unavailable, UpstreamSlow
from swell.jobs.consume import consume
from swell.jobs.messages import InspectJob
from swell.jobs.streams import Nats
from swell.oci.document import Document
from swell.oci.platform import parse_platform
from swell.oci.reference import Reference, parse_reference
from swell.registry.credentials.keyring import Credentials
from swell.rpc.channel import connect
from swell.rpc.server import answering
from swell.rpc.v1.registries_pb2_grpc import add_RegistriesServicer_to_server
from swell.serve import Address
from swell.testing.registry import FakeRegistry
from swell_embedded.ports import Ports

TOOL = parse_reference("quay.io/acme/tool:2.1")
AMD, ARM = parse_platform("amd64"), parse_platform("arm64")


class Upstream(FakeRegistry):
    """Answers nothing while it is *silent*."""

    silent = False

    def host_name(self, registry: str) -> str:
        return f"https://{registry}"

    async def fetch_manifest(self, reference: Reference) -> Document:
        if self.silent:
            await asyncio.Event().wait()
        return await super().fetch_manifest(reference)


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def inspections(nats: Nats) -> QueuedInspections:
    return QueuedInspections(nats)


@pytest.fixture
async def proxy(nats: Nats, upstream: Upstream) -> AsyncIterator[None]:
    """Takes the jobs, with two slots."""
    take = InspectJobs(Inspector(upstream), nats).handle
    task = asyncio.create_task(consume(nats.stream, "registry-proxy", InspectJob, take, slots=2))
    yield
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.usefixtures("proxy")
async def test_an_image_comes_as_the_registry_has_it(inspections: QueuedInspections, upstream: Upstream) -> None:
    """By tag and by digest; with a platform the one of the index, without one the index."""
    arm = upstream.push(str(TOOL), platform="arm64")
    index = upstream.push_index(str(TOOL), arm)

    whole = await inspections.inspect(TOOL, None)
    chosen = await inspections.inspect(TOOL, ARM)
    pinned = await inspections.inspect(TOOL.at(arm.digest), None)

    assert whole.index and whole.index.digest == index.digest
    assert chosen.container and chosen.container.digest == arm.digest
    assert pinned.container and (pinned.container.digest, pinned.container.reference) == (arm.digest, arm.digest)
    assert pinned.container.manifest == chosen.container.manifest


@pytest.mark.usefixtures("proxy")
async def test_what_is_wrong_there_is_raised_here(inspections: QueuedInspections, upstream: Upstream) -> None:
    """An error of the registry-proxy keeps its class."""
    with pytest.raises(ManifestUnknown):
        await inspections.inspect(TOOL, None)
    upstream.push_index(str(TOOL), upstream.push(str(TOOL)))
    with pytest.raises(BadRequest, match="linux/amd64"):
        await inspections.inspect(TOOL, ARM)
    upstream.away = True
    with pytest.raises(Unavailable):
        await inspections.inspect(TOOL, None)


@pytest.mark.usefixtures("proxy")
async def test_a_silent_registry_is_named_before_the_client_gives_up(
    inspections: QueuedInspections, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the registry, because only its operator can fix it."""
    monkeypatch.setattr(module, "TIMEOUT", timedelta(seconds=2))
    upstream.silent = True

    with pytest.raises(UpstreamSlow, match="quay.io does not answer in time"):
        await inspections.inspect(TOOL, None)


async def test_a_gateway_does_not_fill_up_with_waiting(
    nats: Nats, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When all places are taken, a request fails at once with `Retry-After`."""
    monkeypatch.setattr(module, "MAX_PENDING", 2)
    inspections = QueuedInspections(nats)
    waiting = [asyncio.create_task(inspections.inspect(TOOL, None)) for _ in range(2)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable, match="too many") as caught:
        await inspections.inspect(TOOL, None)

    assert caught.value.retry_after == 5
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


class Logins:
    """Takes the password `right`, at every registry but localhost."""

    async def accepts(self, registry: str, credentials: Credentials) -> bool:
        if registry == "localhost":
            raise AddressForbidden(f"{registry} has an address that this server must not connect to")
        return credentials == Credentials("größe", "right")


@asynccontextmanager
async def remote_logins() -> AsyncIterator[RemoteLogins]:
    handler, where = RegistriesHandler(Logins()), Address("127.0.0.1", Ports.free().registry_proxy)
    async with (
        answering(where, lambda server: add_RegistriesServicer_to_server(handler, server)),
        connect(f"{where.host}:{where.port}") as channel,
    ):
        yield RemoteLogins(channel)


async def test_credentials_are_asked_over_there() -> None:
    """Only the registry-proxy connects to registries."""
    async with remote_logins() as logins:
        assert await logins.accepts("quay.io", "größe", "right")
        assert not await logins.accepts("quay.io", "größe", "wrong")


async def test_a_forbidden_registry_is_reported_and_no_password_logged() -> None:
    """The client sees the reason, and logs contain no secret."""
    with capture_logs() as logs:
        async with remote_logins() as logins:
            with pytest.raises(AddressForbidden, match="localhost"):
                await logins.accepts("localhost", "größe", "top secret")

    assert any(line["event"] == "call failed" for line in logs)
    assert "top secret" not in str(logs)
