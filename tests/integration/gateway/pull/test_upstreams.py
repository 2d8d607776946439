"""Pulls while upstream registries are in trouble, over HTTP to the gateway and by gRPC to the registry-proxy."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from msgspec import structs
from redis.asyncio import Redis

from gateway.adapters.registry_proxy import image_lookup, images
from gateway.adapters.registry_proxy.image_lookup import RemoteLookup
from gateway.adapters.registry_proxy.images import CachedImages, RemoteImages
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import ClientAddress
from gateway.pull.pulls import Pulls
from registry_proxy import pull
from registry_proxy.adapters import image_cache
from registry_proxy.adapters.documents import RedisDocuments
from registry_proxy.adapters.image_cache import ImageCache
from registry_proxy.adapters.leases import RedisLeases
from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.links import Links
from registry_proxy.handlers.images import ImagesHandler
from registry_proxy.image_tree.resolve import ImageResolver
from swell.errors import UpstreamSlow
from swell.net.http import listening
from swell.net.outbound import DIRECT, Policy, Reach, open_session
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import parse_reference
from swell.registry.circuit_breaker import CircuitBreaker
from swell.registry.credentials.keyring import Keyring
from swell.rpc.channel import connect
from swell.rpc.server import answering
from swell.rpc.v1.images_pb2_grpc import add_ImagesServicer_to_server
from swell.serve import Address
from swell_embedded.ports import Ports
from tests.integration.gateway.grants import make_grant
from tests.integration.gateway.harness import Answer, Client
from tests.integration.registry_proxy.registries.faults import DIGEST, FAULTS, MANIFEST, SECRET, raw
from tests.integration.registry_proxy.support import Answer as Upstream
from tests.integration.registry_proxy.support import Script, said, serving
from tests.unit.gateway.doubles import KnownEnds, MemoryGrants, UnlimitedPulls
from tests.unit.registry_proxy.memory import MemoryLayers, PublicStore

PATH = "/v2/team/tool/manifests/1"
OURS = {"content-type", "content-length", "docker-distribution-api-version", "server", "date"}

good = said(body=MANIFEST, content_type=OCI_MANIFEST)

RESPONSES = {
    "closed before headers": (502, "UNKNOWN", None),
    "reset before headers": (502, "UNKNOWN", None),
    "silent": (504, "UNKNOWN", None),
    "no HTTP": (502, "UNKNOWN", None),
    "reset within the body": (502, "UNKNOWN", None),
    "stalled within the body": (504, "UNKNOWN", None),
    "an endless body": (502, "UNKNOWN", None),
    "HTML": (502, "MANIFEST_INVALID", None),
    "a wrong digest": (502, "UNKNOWN", None),
    "a redirect to itself": (502, "UNKNOWN", None),
    "a refusal": (403, "DENIED", None),
    "a prohibition": (403, "DENIED", None),
    "an absence": (404, "MANIFEST_UNKNOWN", None),
    "too many requests": (429, "TOOMANYREQUESTS", "7"),
    "an error": (502, "UNKNOWN", None),
    "maintenance": (502, "UNKNOWN", "120"),
}


class Door:
    """The gateway's way in; each pull is by a new token."""

    def __init__(self, client: Client, grants: MemoryGrants, lookup: RemoteLookup) -> None:
        self.lookup = lookup
        self._client = client
        self._grants = grants
        self._tokens = 0

    async def pull(self, authority: str) -> Answer:
        """The manifest of `team/tool:1` in a registry."""
        self._tokens += 1
        grant = structs.replace(make_grant(f"{self._tokens:026}"), image=f"{authority}/team/tool:1")
        await self._grants.put(grant)
        return await self._client.get(f"/v2/wt/{grant.token}/team/tool/manifests/1")


@asynccontextmanager
async def opened(redis: Redis, reach: Reach = DIRECT) -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(open_session(Policy(frozenset({"127.0.0.1"})), reach))
        cache = ImageCache(RegistryUpstream(session, Keyring()), Keyring())
        proxied = pull.Pulls(cache, RedisDocuments(redis), MemoryLayers(), RedisLeases(redis))
        links = Links(PublicStore(), "http://data.test", b"key")
        handler = ImagesHandler(proxied, links, ImageResolver(cache))
        proxy = Address("127.0.0.1", Ports.free().registry_proxy)
        await stack.enter_async_context(answering(proxy, lambda server: add_ImagesServicer_to_server(handler, server)))
        channel = await stack.enter_async_context(connect(f"{proxy.host}:{proxy.port}"))
        grants = MemoryGrants()
        pulls = Pulls(grants, KnownEnds(), CachedImages(RemoteImages(channel), 1 << 20), UnlimitedPulls(), "")
        where = Address("127.0.0.1", Ports.free().gateway)
        app = RegistryHandler(pulls, lambda grant, document: None, ClientAddress())
        await stack.enter_async_context(listening(app, where))
        asking = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)))
        yield Door(Client(asking, f"http://{where.host}:{where.port}"), grants, RemoteLookup(channel))


@pytest.fixture
async def door(redis: Redis) -> AsyncIterator[Door]:
    async with opened(redis) as door:
        yield door


@pytest.fixture
async def script() -> AsyncIterator[Script]:
    async with serving() as script:
        yield script


@pytest.mark.parametrize("name", RESPONSES)
async def test_errors_of_upstreams_have_the_format_of_registries(redis: Redis, name: str) -> None:
    """With the status and the code that clients know, when to come back, and nothing of the upstream's own."""
    [fault] = [fault for fault in FAULTS if fault.name == name]
    async with raw(fault.does) as authority, opened(redis, fault.reach) as door:
        answer = await door.pull(authority)

    assert (answer.status, answer.json["errors"][0]["code"], answer.headers.get("retry-after")) == RESPONSES[name]
    assert answer.headers["content-type"] == "application/json"
    assert not OURS.symmetric_difference(answer.headers) - {"retry-after"}
    assert SECRET not in answer.body


async def test_a_silent_registry_is_504_however_long_the_registry_proxy_may_wait(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each hop ends before its caller: with equal times the gateway gave up first, and blamed the registry-proxy."""
    monkeypatch.setattr(images, "CALL_SECONDS", 2)
    [fault] = [fault for fault in FAULTS if fault.name == "silent"]
    async with raw(fault.does) as authority, opened(redis, Reach(answer_timeout=timedelta(minutes=5))) as door:
        answer = await door.pull(authority)

    assert answer.status == 504
    assert f"{authority} does not answer in time" in answer.json["errors"][0]["message"]


async def test_resolving_at_a_silent_registry_is_504_too(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check in a POST has less time than a pull."""
    monkeypatch.setattr(image_lookup, "RESOLVE_SECONDS", 2)
    [fault] = [fault for fault in FAULTS if fault.name == "silent"]
    async with raw(fault.does) as authority, opened(redis, Reach(answer_timeout=timedelta(minutes=5))) as door:
        with pytest.raises(UpstreamSlow, match="does not answer in time"):
            await door.lookup.resolve(parse_reference(f"{authority}/team/tool:1"))


async def test_a_registry_that_keeps_failing_is_left_alone(script: Script, door: Door) -> None:
    """Further requests fail at once with `Retry-After`, without a request to the registry."""
    script.on(PATH, said(503))
    for _ in range(CircuitBreaker.FAILURES):
        assert (await door.pull(script.authority)).status == 502
    script.seen.clear()

    answer = await door.pull(script.authority)

    assert (answer.status, answer.json["errors"][0]["code"]) == (503, "UNKNOWN")
    assert 1 <= int(answer.headers["retry-after"]) <= CircuitBreaker.REST
    assert not script.seen


@pytest.mark.parametrize("trouble", [said(429, Retry_After="60"), said(500), said(503, Retry_After="60")])
async def test_an_image_that_was_seen_is_served_while_its_registry_is_in_trouble(
    script: Script, redis: Redis, monkeypatch: pytest.MonkeyPatch, trouble: Upstream
) -> None:
    """To new tokens as well, with the mark that HTTP has for it; the mark goes when the trouble does."""
    monkeypatch.setattr(image_cache, "TAG_SECONDS", 0)  # a tag is read again at once
    async with opened(redis) as door:
        script.on(PATH, good)
        assert "warning" not in (await door.pull(script.authority)).headers
        script.on(PATH, trouble)

        stale = await door.pull(script.authority)

        assert (stale.status, stale.body, stale.headers["docker-content-digest"]) == (200, MANIFEST, DIGEST)
        assert stale.headers["warning"] == '110 - "Response is Stale"'
        script.on(PATH, good)
        assert "warning" not in (await door.pull(script.authority)).headers


async def test_two_hundred_clients_of_one_new_image_are_one_to_its_registry(script: Script, door: Door) -> None:
    """A workflow starts its tasks at once, each with a token of its own; registries count requests."""

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.3)
        return good(request)  # type: ignore[return-value]

    script.on(PATH, slow)

    answers = await asyncio.gather(*(door.pull(script.authority) for _ in range(200)))

    assert {(answer.status, answer.body) for answer in answers} == {(200, MANIFEST)}
    assert len(script.seen) == 1
