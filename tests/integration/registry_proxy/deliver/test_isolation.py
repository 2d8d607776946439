"""Access to stored blobs and running transfers: users of one repository do not affect those of another."""

import asyncio
import time
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from msgspec import structs

from registry_proxy.adapters import upstream_responses
from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.access import Access
from registry_proxy.domain.link import Link
from swell.errors import BlobUnknown, Denied, UpstreamFailed
from swell.net.outbound import Pace
from swell.oci.digest import digest_of
from swell.registry.credentials.principal import OPERATOR
from tests.integration.registry_proxy.deliver.data_port import CONTENT, NewPort, Port, kept
from tests.integration.registry_proxy.support import S3, Answer, Gate, Script, eventually, ranged, said
from tests.unit.registry_proxy.memory import MemoryProofs

PART = {"Range": "bytes=0-9"}
JUNK = b"j" * len(CONTENT)


def methods(script: Script) -> list[str]:
    """What *script* was asked with, in order."""
    return [method for method, _, _ in script.seen]


async def pulled(port: Port, client: aiohttp.ClientSession, link: Link, **headers: str) -> tuple[int, bytes]:
    """The answer to *link*; a redirect is not followed."""
    async with client.get(port.url_of(link), headers=headers, allow_redirects=False) as response:
        return response.status, await response.read()


async def stored(port: Port, client: aiohttp.ClientSession) -> Link:
    """A blob of a private repository that its user has pulled: on disk and in S3."""
    link = port.link(repository="private/tool")
    port.script.on(port.path_upstream(link), said(body=CONTENT))
    assert await pulled(port, client, link) == (200, CONTENT)
    await kept(port, link)
    port.script.seen.clear()
    return link


@pytest.mark.parametrize("headers", [{}, PART, {"X-Sendfile": "spool"}], ids=["whole", "part", "sendfile"])
@pytest.mark.parametrize("public", [False, True], ids=["data port", "public store"])
@pytest.mark.parametrize("relayed", [False, True])
async def test_a_registry_that_does_not_have_a_blob_opens_nothing(
    new_port: NewPort,
    other: Script,
    client: aiohttp.ClientSession,
    s3: S3,
    headers: dict[str, str],
    public: bool,
    relayed: bool,
) -> None:
    """A made-up manifest names the digest and size of another user's private layer: its own registry answers 404."""
    async with new_port(public=s3.endpoint if public else None) as port:
        link = await stored(port, client)
        for changes in {"registry": other.authority, "repository": "evil/tool"}, {"repository": "evil/tool"}:
            made_up = structs.replace(link, relayed=relayed, **changes)
            status, body = await pulled(port, client, made_up, **headers)
            assert status == 404
            assert CONTENT[:4] not in body


@pytest.mark.parametrize("place", ["spool", "S3"])
async def test_another_registrys_word_is_no_proof(
    new_port: NewPort, other: Script, client: aiohttp.ClientSession, place: str
) -> None:
    """An attacker's registry answers HEAD for any digest; it must send the bytes itself."""
    async with new_port() as first, new_port() as second:
        link = await stored(first, client)
        port = first if place == "spool" else second
        theirs = structs.replace(link, registry=other.authority, repository="evil/tool")

        async def liar(request: web.Request) -> web.Response:
            return web.Response(body=JUNK)

        other.on(port.path_upstream(theirs), liar)
        with pytest.raises(aiohttp.ClientPayloadError):
            await pulled(port, client, theirs)
        async with client.get(port.url_of(theirs), headers=PART) as response:
            assert await response.read() == JUNK[:10]


async def test_each_principal_needs_its_own_access(port: Port, client: aiohttp.ClientSession) -> None:
    """A blob fetched with the operator's credentials is not public."""
    link = port.link(principal=OPERATOR)
    port.script.on(port.path_upstream(link), said(body=CONTENT), said(403))
    assert await pulled(port, client, link) == (200, CONTENT)

    status, _ = await pulled(port, client, port.link())

    assert status == 403
    assert await pulled(port, client, link) == (200, CONTENT)


@pytest.mark.parametrize("answer", [said(307, Location="https://cdn.example/x"), said(405)], ids=["redirect", "405"])
async def test_registries_say_yes_in_several_ways(port: Port, client: aiohttp.ClientSession, answer: Answer) -> None:
    """Some redirect a HEAD to their storage, some do not know it and are asked with GET."""
    await stored(port, client)
    other = port.link(repository="c/d")
    port.script.on(port.path_upstream(other), answer, said(body=CONTENT))

    assert await pulled(port, client, other) == (200, CONTENT)
    assert methods(port.script)[0] == "HEAD"


async def test_a_registry_that_fails_at_head_is_asked_for_the_blob(port: Port, client: aiohttp.ClientSession) -> None:
    """What is stored is a help, no condition: the bytes themselves are the proof then."""
    await stored(port, client)
    other = port.link(repository="c/d")

    async def fails_at_head(request: web.Request) -> web.Response:
        return web.Response(status=500) if request.method == "HEAD" else web.Response(body=CONTENT)

    port.script.on(port.path_upstream(other), fails_at_head)

    assert await pulled(port, client, other) == (200, CONTENT)


async def test_access_is_asked_for_once_in_a_while(script: Script, upstream: RegistryUpstream) -> None:
    """Five minutes by one HEAD, for all replicas; a day while the registry is in trouble; nothing after a refusal."""
    now, proofs = [time.time()], MemoryProofs()
    replicas = [Access(upstream, proofs, timedelta(days=1), lambda: now[0]) for _ in range(2)]
    content = CONTENT[:10]
    link = Port(script.url, script, *(None,) * 4).link(content)  # type: ignore[arg-type]
    path = f"/v2/{link.repository}/blobs/{link.digest}"
    script.on(path, said(body=content))
    for _ in range(3):
        await asyncio.gather(*(access.prove(link) for access in replicas[:1] * 10))
        await replicas[1].prove(link)
    assert methods(script) == ["HEAD"]

    script.on(path, said(500))
    now[0] += 301
    await replicas[0].prove(link)
    now[0] += 24 * 3600
    with pytest.raises(UpstreamFailed):
        await replicas[0].prove(link)

    for status, error in (404, BlobUnknown), (401, Denied):
        script.on(path, said(body=content), said(status), said(status), said(500))  # HEAD, then HEAD and GET
        await replicas[0].prove(link)
        now[0] += 301
        with pytest.raises(error):
            await replicas[0].prove(link)
        with pytest.raises(UpstreamFailed):
            await replicas[0].prove(link)


async def test_a_hostile_registrys_transfer_is_not_shared(
    port: Port, other: Script, client: aiohttp.ClientSession
) -> None:
    """It announces a digest that a victim pulls from elsewhere, and sends junk slowly: its own readers alone get it."""
    victims = port.link()
    hostile = structs.replace(victims, registry=other.authority, repository="evil/tool")
    other.on(port.path_upstream(hostile), Gate(JUNK))
    port.script.on(port.path_upstream(victims), said(body=CONTENT))
    async with client.get(port.url_of(hostile)) as slow:
        assert await slow.content.readexactly(10) == JUNK[:10]

        assert await pulled(port, client, victims) == (200, CONTENT)
        assert await pulled(port, client, structs.replace(victims, principal=OPERATOR)) == (200, CONTENT)
        slow.close()


async def test_a_stalled_transfer_goes_on_by_another_connection(
    port: Port, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the same byte, after seconds and not after the idle timeout of a minute."""
    monkeypatch.setattr(upstream_responses, "PACE", Pace(silence=0.3))
    link = port.link()
    port.script.on(port.path_upstream(link), Gate(CONTENT), ranged(CONTENT))

    async with asyncio.timeout(30):
        assert await pulled(port, client, link) == (200, CONTENT)

    middle = len(CONTENT) // 2
    assert [headers.get("Range") for headers in port.script.headers] == [None, f"bytes={middle}-{len(CONTENT) - 1}"]


def dripping(content: bytes, count: int, seconds: float) -> Answer:
    """An answer of *content*, *count* bytes each so many *seconds*."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        for at in range(0, len(content), count):
            await response.write(content[at : at + count])
            await asyncio.sleep(seconds)
        return response

    return answer


async def test_a_transfer_below_the_minimum_rate_goes_on_by_another_connection(
    port: Port, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two KB a second are no stall, and would take days."""
    monkeypatch.setattr(upstream_responses, "PACE", Pace(silence=5, slowest=16 << 10, window=0.5))
    link = port.link()
    port.script.on(port.path_upstream(link), dripping(CONTENT, 200, 0.1), ranged(CONTENT))

    async with asyncio.timeout(30):
        assert await pulled(port, client, link) == (200, CONTENT)


async def test_a_transfer_with_a_wrong_digest_is_replaced(port: Port, client: aiohttp.ClientSession) -> None:
    """What was sent of it was right: the client notices nothing."""
    link = port.link()
    port.script.on(port.path_upstream(link), said(body=CONTENT[:-1] + b"x"), said(body=CONTENT))

    assert await pulled(port, client, link) == (200, CONTENT)
    await kept(port, link)


async def test_a_wrong_beginning_cannot_be_taken_back(port: Port, client: aiohttp.ClientSession) -> None:
    """The client has bytes that the right blob does not begin with: the answer ends short of its length."""
    link = port.link()
    port.script.on(port.path_upstream(link), said(body=b"x" + CONTENT[1:]), said(body=CONTENT))

    with pytest.raises(aiohttp.ClientPayloadError):
        await pulled(port, client, link)
    assert await pulled(port, client, link) == (200, CONTENT)


async def test_a_giant_claim_leaves_the_spool_to_others(new_port: NewPort, client: aiohttp.ClientSession) -> None:
    """A manifest declares as much as the spool holds, and its registry drips: others are stored all the same."""
    async with new_port(room=24 << 20) as port:
        claimed = port.link(digest=digest_of(b"claimed"), size=24 << 20, repository="evil/tool")
        port.script.on(port.path_upstream(claimed), dripping(bytes(1 << 20), 2048, 1))
        link = port.link()
        port.script.on(port.path_upstream(link), said(body=CONTENT))
        async with client.get(port.url_of(claimed)) as slow:
            await slow.content.read(1)

            assert await pulled(port, client, link) == (200, CONTENT)
            assert port.files.find(link.registry, link.digest)
            slow.close()


async def test_a_full_spool_breaks_no_transfer_off(new_port: NewPort, client: aiohttp.ClientSession) -> None:
    """Two transfers are promised room that only one can have: the other goes on past the disk, and is verified."""
    second = CONTENT[::-1] * 3
    async with new_port(room=len(second) + (1 << 20)) as port:
        links = [port.link(), port.link(second)]
        gates = [Gate(CONTENT), Gate(second)]
        for link, gate, content in zip(links, gates, (CONTENT, second), strict=True):
            port.script.on(port.path_upstream(link), gate, ranged(content))
        pulls = [asyncio.create_task(pulled(port, client, link)) for link in links]

        async def are_under_way() -> bool:
            return len(port.script.seen) == 2

        await eventually(are_under_way)
        for gate in gates:
            gate.open()
        assert [await each for each in pulls] == [(200, CONTENT), (200, second)]
