"""Transfers: fetched once, read while they arrive, and stored only after verification."""

import asyncio
import contextlib
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web
from msgspec import structs

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver import resume
from registry_proxy.domain.link import Origin
from registry_proxy.domain.ranges import parse_range
from registry_proxy.handlers import server
from swell.net.outbound import Policy, Reach, open_session
from swell.oci.digest import digest_of
from swell.registry.credentials.keyring import Keyring
from tests.integration.registry_proxy.deliver.data_port import CONTENT, NewPort, Port, kept
from tests.integration.registry_proxy.support import S3, Answer, Gate, Script, broken_off, eventually, ranged, said


@pytest.mark.parametrize("sent", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT[: len(CONTENT) // 2]])
async def test_wrong_bytes_end_in_a_broken_connection(port: Port, client: aiohttp.ClientSession, sent: bytes) -> None:
    """Chunked, so that no length gives them away before: the client must see an error, not an end."""
    link = port.link()

    async def chunked(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(sent)
        return response

    port.script.on(port.path_upstream(link), chunked)

    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(port.url_of(link)) as response:
            await response.read()


async def test_an_upstream_that_breaks_off_for_good_breaks_the_answer_off(
    port: Port, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients resume or try again; a silent end would be a truncated layer. Nothing of it is kept."""
    monkeypatch.setattr(resume, "PAUSES", (0.01, 0.01))
    link = port.link()
    port.script.on(port.path_upstream(link), broken_off(CONTENT[: 2 << 20], len(CONTENT)), said(503))

    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(port.url_of(link)) as response:
            await response.read()

    assert await port.cached(link) is None


@pytest.mark.parametrize("again", [ranged(CONTENT), said(body=CONTENT)], ids=["a part", "the whole"])
async def test_an_upstream_that_breaks_off_is_taken_up_again(
    port: Port, client: aiohttp.ClientSession, again: Answer
) -> None:
    """The client notices nothing, and what is kept is the whole; some registries send all of it again."""
    link, gate, half = port.link(), Gate(CONTENT, breaks=True), 1 << 20
    port.script.on(port.path_upstream(link), gate, again)

    async with client.get(port.url_of(link)) as response:
        held = await response.content.readexactly(half)
        gate.open()
        assert held + await response.read() == CONTENT

    first, second = [headers.get("Range") for headers in port.script.headers]
    span = parse_range(second or "", len(CONTENT))
    assert first is None
    assert span and half <= span.start <= len(CONTENT) // 2 and span.stop == len(CONTENT)
    await kept(port, link)


async def test_an_upstream_that_falls_silent_is_asked_again(new_port: NewPort, client: aiohttp.ClientSession) -> None:
    """Some registries stall without closing; a client would wait for ever."""
    async with (
        open_session(Policy(frozenset({"127.0.0.1"})), Reach(idle_timeout=timedelta(seconds=0.3))) as session,
        new_port(upstream=RegistryUpstream(session, Keyring())) as port,
    ):
        link = port.link()
        port.script.on(port.path_upstream(link), Gate(CONTENT), ranged(CONTENT))
        async with client.get(port.url_of(link)) as response:
            assert await response.read() == CONTENT


async def test_a_client_that_reads_nothing_is_disconnected(new_port: NewPort, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory and its file are freed; the connection is closed."""
    monkeypatch.setattr(server, "STALLED_SECONDS", 0.3)
    content = bytes(32 << 20)
    async with new_port() as port:
        link = port.link(content, Origin.LAYER)
        await port.layers.put(link.digest, content)
        reader, writer = await asyncio.open_connection("127.0.0.1", port.url.port, limit=1 << 16)
        writer.write(f"GET {port.url_of(link).raw_path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        taken = len(await reader.readexactly(1 << 16))

        async def is_let_go() -> bool:
            file = port.files.find("" if link.origin is Origin.LAYER else link.registry, link.digest)
            return file is not None and not file.users

        await eventually(is_let_go)
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(reader.read(1 << 20), 30):
                taken += len(piece)
        writer.close()
    assert taken < len(content)


async def test_a_blob_that_changes_while_it_is_read_is_not_kept(port: Port, client: aiohttp.ClientSession) -> None:
    """What was put together of two is judged as a whole."""
    link, middle = port.link(), 2 << 20
    other = CONTENT[:-1] + b"x"
    port.script.on(port.path_upstream(link), broken_off(CONTENT[:middle], len(CONTENT)), ranged(other))

    with pytest.raises(aiohttp.ClientPayloadError):
        async with client.get(port.url_of(link)) as response:
            await response.read()

    assert await port.cached(link) is None


async def test_a_blob_comes_from_its_registry_once(port: Port, client: aiohttp.ClientSession) -> None:
    """Then it is stored, once for all repositories of the registry that show it."""
    link, other = port.link(), port.link(repository="c/d")
    port.script.on(port.path_upstream(link), said(body=CONTENT))
    port.script.on(port.path_upstream(other), said(body=CONTENT))

    async with client.get(port.url_of(link)) as response:
        await response.read()
    await kept(port, link)
    async with client.get(port.url_of(other)) as response:
        assert await response.read() == CONTENT

    assert [(method, url.path) for method, url, _ in port.script.seen] == [
        ("GET", port.path_upstream(link)),
        ("HEAD", port.path_upstream(other)),
    ]


async def test_a_cached_blob_needs_no_registry(new_port: NewPort, client: aiohttp.ClientSession) -> None:
    """Another replica, or this one after a restart, reads it from S3."""
    async with new_port() as first:
        link = first.link()
        first.script.on(first.path_upstream(link), said(body=CONTENT))
        async with client.get(first.url_of(link)) as response:
            await response.read()
        await kept(first, link)
    async with new_port() as second:
        second.script.on(second.path_upstream(link), said(500))
        for headers, part in ({}, CONTENT), ({"Range": "bytes=-9"}, CONTENT[-9:]):
            async with client.get(second.url_of(link), headers=headers) as response:
                assert await response.read() == part


async def test_clients_that_reach_the_store_are_redirected_there(
    new_port: NewPort, client: aiohttp.ClientSession, s3: S3
) -> None:
    """They get the store's own URL; relayed clients do not, because they can reach only the gateway."""
    async with new_port(public=s3.endpoint) as port:
        await port.layers.put(digest_of(CONTENT), CONTENT)
        link = port.link(origin=Origin.LAYER)

        async with client.get(port.url_of(link), allow_redirects=False) as answer:
            assert answer.status == 307
            assert answer.headers["Location"].startswith(s3.endpoint)
        async with client.get(port.url_of(link)) as answer:
            assert await answer.read() == CONTENT
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Content-Disposition"] == "attachment"
        async with client.get(port.url_of(structs.replace(link, relayed=True)), allow_redirects=False) as answer:
            assert (answer.status, await answer.read()) == (200, CONTENT)

        cold = port.link(CONTENT[1:])
        port.script.on(port.path_upstream(cold), said(body=CONTENT[1:]))
        async with client.get(port.url_of(cold), allow_redirects=False) as answer:
            assert (answer.status, await answer.read()) == (200, CONTENT[1:])
        await kept(port, cold)
        async with client.get(port.url_of(cold), allow_redirects=False) as answer:
            assert answer.status == 307


async def test_a_relayed_blob_is_fetched_from_where_its_registry_keeps_it(
    port: Port, other: Script, client: aiohttp.ClientSession
) -> None:
    """Registries redirect to storage that the client cannot reach either."""
    link = port.link(relayed=True)
    port.script.on(port.path_upstream(link), said(307, Location=f"{other.url}/stored"))
    other.on("/stored", said(body=CONTENT))

    async with client.get(port.url_of(link), allow_redirects=False) as response:
        assert (response.status, await response.read()) == (200, CONTENT)


async def test_a_hundred_clients_of_one_cold_blob_cost_one_fetch(port: Port) -> None:
    """Late ones read what has arrived, from its first byte."""
    link, gate = port.link(), Gate(CONTENT)
    port.script.on(port.path_upstream(link), gate)

    async def pull(client: aiohttp.ClientSession) -> bytes:
        async with client.get(port.url_of(link)) as response:
            first = await response.content.read(1)
            begun.release()
            return first + await response.read()

    begun = asyncio.Semaphore(0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client, asyncio.TaskGroup() as tasks:
        pulls = [tasks.create_task(pull(client)) for _ in range(100)]
        for _ in pulls:
            await asyncio.wait_for(begun.acquire(), 30)
        gate.open()

    assert {each.result() == CONTENT for each in pulls} == {True}
    assert len(port.script.seen) == 1


async def test_a_client_that_goes_away_leaves_the_others_theirs(port: Port, client: aiohttp.ClientSession) -> None:
    """Also when it is the one for whom the transfer was begun."""
    link, gate = port.link(), Gate(CONTENT)
    port.script.on(port.path_upstream(link), gate)

    async with aiohttp.ClientSession() as hurried, hurried.get(port.url_of(link)) as response:
        await response.content.read(1)
        response.close()
    async with client.get(port.url_of(link)) as response:
        await response.content.read(1)
        gate.open()
        assert await response.read() == CONTENT[1:]

    assert len(port.script.seen) == 1


async def test_a_transfer_without_readers_is_cancelled_after_a_while(
    new_port: NewPort, client: aiohttp.ClientSession
) -> None:
    """The client may not come back; its incomplete file is removed."""
    async with new_port(idle_lifetime=timedelta(seconds=0.5)) as port:
        link, gate = port.link(), Gate(CONTENT)
        port.script.on(port.path_upstream(link), gate, said(body=CONTENT))
        async with client.get(port.url_of(link)) as response:
            await response.content.read(1)
            response.close()

        async def is_gone() -> bool:
            return not [path for path in port.spool.rglob("*") if path.name.isdigit()]

        await eventually(is_gone)
        gate.open()
        async with client.get(port.url_of(link)) as response:
            assert await response.read() == CONTENT


async def test_a_client_that_was_cut_goes_on_where_it_was(port: Port, client: aiohttp.ClientSession) -> None:
    """As containerd and Docker do: they ask for the rest, and the fetch that had begun for them serves it."""
    link, gate, middle = port.link(), Gate(CONTENT), 1 << 20
    port.script.on(port.path_upstream(link), gate)
    async with aiohttp.ClientSession() as cut, cut.get(port.url_of(link)) as response:
        held = await response.content.readexactly(middle)
        response.close()
    gate.open()

    async with client.get(port.url_of(link), headers={"Range": f"bytes={middle}-"}) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {middle}-{len(CONTENT) - 1}/{len(CONTENT)}"
        held += await response.read()

    assert digest_of(held) == link.digest
    assert len(port.script.seen) == 1


async def test_two_replicas_fetch_a_blob_once(new_port: NewPort, client: aiohttp.ClientSession) -> None:
    """The second waits a moment for the first, and has it from S3."""
    async with new_port() as first, new_port() as second:
        link, gate = first.link(), Gate(CONTENT)
        first.script.on(first.path_upstream(link), gate)

        async def pull(port: Port) -> bytes:
            async with client.get(port.url_of(link)) as response:
                return await response.read()

        one = asyncio.create_task(pull(first))
        await eventually(first.script.is_asked)
        two = asyncio.create_task(pull(second))
        gate.open()

        assert await one == await two == CONTENT
        assert len(first.script.seen) == 1


async def test_a_replica_does_not_wait_long_for_another(new_port: NewPort, client: aiohttp.ClientSession) -> None:
    """It streams by itself then, and leaves the keeping to the first."""
    async with new_port() as first, new_port() as second:
        link = first.link()
        first.script.on(first.path_upstream(link), Gate(CONTENT), said(body=CONTENT))
        async with client.get(first.url_of(link)) as stuck:
            await stuck.content.read(1)
            async with client.get(second.url_of(link)) as response:
                assert await response.read() == CONTENT
            assert await second.cached(link) is None
            stuck.close()
