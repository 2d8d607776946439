"""Retries and their limits: a scripted registry sends `Retry-After`."""

import asyncio
import time
from datetime import timedelta

import pytest
from aiohttp import web

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.concurrency.deadline import within
from swell.errors import TooManyRequests, UpstreamDown, UpstreamFailed, UpstreamSlow
from swell.net.outbound import Policy, Reach, open_session
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry.circuit_breaker import CircuitBreaker
from swell.registry.credentials.keyring import Keyring
from tests.integration.registry_proxy.support import Script, make_image, said

PATH = "/v2/team/tool/manifests/1"
good = said(body=make_image().manifest, content_type=OCI_MANIFEST)


def tool(script: Script) -> Reference:
    return parse_reference(f"{script.authority}/team/tool:1")


async def test_a_short_retry_after_is_respected(script: Script, upstream: RegistryUpstream) -> None:
    """The registry's value replaces the default pause."""
    script.on(PATH, said(503, Retry_After="1"), good)
    started = time.monotonic()

    await upstream.fetch_manifest(tool(script))

    assert time.monotonic() - started >= 1
    assert len(script.seen) == 2


async def test_a_long_retry_after_is_passed_on(script: Script, upstream: RegistryUpstream) -> None:
    """The client decides whether to wait that long."""
    script.on(PATH, said(503, Retry_After="120"))

    with pytest.raises(UpstreamFailed) as caught:
        await upstream.fetch_manifest(tool(script))

    assert caught.value.retry_after == 120
    assert len(script.seen) == 1


async def test_a_caller_without_time_opens_no_circuit(script: Script, upstream: RegistryUpstream) -> None:
    """A request that spent its time elsewhere proves nothing about the registry, which others use."""

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.2)
        return good(request)  # type: ignore[return-value]

    script.on(PATH, slow)
    for _ in range(CircuitBreaker.FAILURES):
        with pytest.raises(UpstreamSlow), within(0.05):
            await upstream.fetch_manifest(tool(script))

    assert await upstream.fetch_manifest(tool(script))


async def test_too_many_requests_are_not_made_more(script: Script, upstream: RegistryUpstream) -> None:
    """Even if the wait were short: a limit is for all who share our address."""
    script.on(PATH, said(429, Retry_After="1"), good)

    with pytest.raises(TooManyRequests):
        await upstream.fetch_manifest(tool(script))

    assert len(script.seen) == 1


@pytest.mark.parametrize("status", [500, 501, 418])
async def test_what_waiting_does_not_mend_is_asked_once(
    script: Script, upstream: RegistryUpstream, status: int
) -> None:
    """It would only cost our client time."""
    script.on(PATH, said(status))

    with pytest.raises(UpstreamFailed):
        await upstream.fetch_manifest(tool(script))

    assert len(script.seen) == 1


async def test_a_registry_that_is_silent_is_left_alone_as_well(script: Script) -> None:
    """Timeouts cost the most: those who come later must not each wait for theirs."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    script.on(PATH, silent)
    async with open_session(Policy(frozenset({"127.0.0.1"})), Reach(answer_timeout=timedelta(seconds=0.3))) as session:
        upstream = RegistryUpstream(session, Keyring())
        await asyncio.gather(
            *(upstream.fetch_manifest(tool(script)) for _ in range(CircuitBreaker.FAILURES)), return_exceptions=True
        )
        asked = len(script.seen)
        with pytest.raises(UpstreamDown):
            await upstream.fetch_manifest(tool(script))

    assert len(script.seen) == asked


async def test_a_dead_realm_is_left_alone_and_the_registry_is_not(script: Script, other: Script) -> None:
    """What needs no token goes on; what needs one hears at once that there are none."""
    script.on(PATH, said(401, WWW_Authenticate=f'Bearer realm="{other.url}/token"'))
    script.on("/v2/open/tool/manifests/1", good)
    other.on("/token", said(503))
    async with open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        upstream = RegistryUpstream(session, Keyring())
        for _ in range(CircuitBreaker.FAILURES):
            with pytest.raises(UpstreamFailed, match="a token for"):
                await upstream.fetch_manifest(tool(script))
        other.seen.clear()

        with pytest.raises(UpstreamDown) as caught:
            await upstream.fetch_manifest(tool(script))

    assert other.authority in str(caught.value)
    assert not other.seen


async def test_who_breaks_off_does_not_count_as_the_registrys_failure(
    script: Script, upstream: RegistryUpstream
) -> None:
    """A client that cancels says nothing about the registry."""

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    script.on(PATH, slow)
    for _ in range(CircuitBreaker.FAILURES):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(upstream.fetch_manifest(tool(script)), 0.1)
    script.on(PATH, good)

    await upstream.fetch_manifest(tool(script))


def image(script: Script, repository: str) -> Reference:
    return parse_reference(f"{script.authority}/{repository}:1")


async def failing(upstream: RegistryUpstream, reference: Reference, times: int = CircuitBreaker.FAILURES) -> None:
    for _ in range(times):
        with pytest.raises(UpstreamFailed):
            await upstream.fetch_manifest(reference)


async def test_an_image_that_fails_leaves_the_others_of_its_registry_alone(
    script: Script, upstream: RegistryUpstream
) -> None:
    """Five requests for one image that is 503 once blocked every image of that registry, for all users."""
    script.on("/v2/team/broken/manifests/1", said(503))
    script.on(PATH, good)
    await failing(upstream, image(script, "team/broken"))

    with pytest.raises(UpstreamDown):
        await upstream.fetch_manifest(image(script, "team/broken"))
    for _ in range(20):
        await upstream.fetch_manifest(tool(script))


async def test_an_image_that_is_silent_leaves_the_others_of_its_registry_alone(script: Script) -> None:
    """A timeout proves that the host accepts connections."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        return web.Response()

    script.on("/v2/team/broken/manifests/1", silent)
    script.on(PATH, good)
    async with open_session(Policy(frozenset({"127.0.0.1"})), Reach(answer_timeout=timedelta(seconds=0.3))) as session:
        upstream = RegistryUpstream(session, Keyring())
        await failing(upstream, image(script, "team/broken"), CircuitBreaker.FAILURES + 1)

        await upstream.fetch_manifest(tool(script))


async def test_a_dead_place_that_one_image_is_sent_to_is_not_its_registry(
    script: Script, upstream: RegistryUpstream
) -> None:
    """The registry did answer: with a redirect."""
    script.on("/v2/team/broken/manifests/1", said(307, Location="http://127.0.0.1:1/nothing-listens-here"))
    script.on(PATH, good)
    await failing(upstream, image(script, "team/broken"), CircuitBreaker.FAILURES + 1)

    await upstream.fetch_manifest(tool(script))


async def test_a_host_that_cannot_be_connected_is_not_asked_for_any_image(upstream: RegistryUpstream) -> None:
    """Requests for its other images need not wait for the same failure."""
    for number in range(CircuitBreaker.FAILURES):
        with pytest.raises(UpstreamFailed):
            await upstream.fetch_manifest(parse_reference(f"127.0.0.1:1/team/tool{number}:1"))

    with pytest.raises(UpstreamDown):
        await upstream.fetch_manifest(parse_reference("127.0.0.1:1/team/other:1"))
