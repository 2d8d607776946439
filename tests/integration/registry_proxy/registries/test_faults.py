"""Faulty upstream servers: each request ends in time with one of Swell's errors, quoting nothing of the upstream."""

import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from registry_proxy.adapters.upstream import RegistryUpstream
from swell.errors import SwellError, UpstreamBroken, UpstreamSlow
from swell.net.outbound import DIRECT, Policy, Reach, open_session
from swell.oci.descriptor import Descriptor
from swell.oci.media_types import OCI_MANIFEST
from swell.oci.reference import Reference, parse_reference
from swell.registry import retry
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR
from tests.integration.registry_proxy.registries.faults import (
    DIGEST,
    FAULTS,
    HURRY,
    MANIFEST,
    Fault,
    Say,
    deaf,
    head,
    raw,
    says,
    typed,
    whole,
)
from tests.integration.registry_proxy.support import broken_off, said, serving


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    """A good answer with some of its bytes taken out and others put in."""
    answer = whole(MANIFEST, "X: secret")
    start = draw(st.integers(0, len(answer)))
    end = draw(st.integers(start, min(start + 20, len(answer))))
    return answer[:start] + draw(st.binary(max_size=20)) + answer[end:]


TIME_LIMIT = 20  # seconds; the longest time until the error of a fault, on a busy machine


@asynccontextmanager
async def reading(reach: Reach = DIRECT) -> AsyncIterator[RegistryUpstream]:
    async with open_session(Policy(frozenset({"127.0.0.1"})), reach) as session:
        yield RegistryUpstream(session, Keyring())


def image(authority: str) -> Reference:
    return parse_reference(f"{authority}/team/tool:1")


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_each_fault_gives_its_error_in_time(fault: Fault) -> None:
    """The client learns what is wrong; the upstream's own text may contain anything and is not passed on."""
    started = time.monotonic()
    async with raw(fault.does) as authority, reading(fault.reach) as upstream:
        with pytest.raises(SwellError) as caught:
            await upstream.fetch_manifest(image(authority))

    assert type(caught.value) is fault.error
    assert caught.value.retry_after == fault.retry_after
    assert "secret" not in str(caught.value)
    assert time.monotonic() - started < TIME_LIMIT


async def test_the_error_of_a_closed_port() -> None:
    """Asked three times: it may be a registry that is starting again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with reading() as upstream:
            with pytest.raises(UpstreamBroken, match="cannot be reached"):
                await upstream.fetch_manifest(image(f"127.0.0.1:{taken.getsockname()[1]}"))


async def test_a_host_that_takes_no_connection() -> None:
    """As behind a firewall that drops what it does not like: the time for connecting has an end of its own."""
    async with deaf() as authority, reading(HURRY) as upstream:
        with pytest.raises(UpstreamSlow, match="does not answer in time"):
            await upstream.fetch_manifest(image(authority))


@pytest.mark.parametrize(
    "does",
    [
        pytest.param(says(whole(MANIFEST)), id="as it should be"),
        pytest.param(says(typed() + MANIFEST), id="no length"),
        pytest.param(says(head(version="1.0") + MANIFEST), id="HTTP/1.0"),
        pytest.param(
            says(typed("Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(MANIFEST), MANIFEST)),
            id="chunks",
        ),
        pytest.param(says(head("103 Early Hints") + whole(MANIFEST)), id="an informational answer first"),
        pytest.param(says(whole(MANIFEST, "Docker-Content-Digest: nonsense")), id="a digest that is none"),
        pytest.param(says(whole(MANIFEST, media_type="text/plain; charset=utf-8")), id="a type that says nothing"),
        pytest.param(says(whole(MANIFEST, "Content-Encoding: identity")), id="the encoding that was asked for"),
        pytest.param(says(whole(MANIFEST).replace(b"\r\n", b"\n", 1)), id="a line feed alone"),
    ],
)
async def test_what_is_odd_but_right_is_taken(does: Say) -> None:
    """Old servers and proxies speak like this; the bytes count."""
    async with raw(does) as authority, reading() as upstream:
        document = await upstream.fetch_manifest(image(authority))

    assert (document.content, document.kind) == (MANIFEST, OCI_MANIFEST)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(answer=st.one_of(st.binary(max_size=300), mangled()))
async def test_any_response_gives_an_error_or_the_manifest(answer: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is an error, or the manifest if its bytes arrived."""
    monkeypatch.setattr(retry, "PAUSES", ())  # what is repeated only repeats
    async with raw(says(answer)) as authority, reading() as upstream:
        try:
            document = await upstream.fetch_manifest(image(authority))
        except SwellError as error:
            assert "secret" not in str(error)
        else:
            assert document.content in answer


async def test_no_secret_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """Passwords, tokens and signed URLs are not logged after any fault."""
    async with serving() as script, open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        script.on("/v2/team/tool/manifests/1", said(401, WWW_Authenticate=f'Bearer realm="{script.url}/t?sig=secret"'))
        script.on("/t", said(503), said(body=b'{"token": "secret"}'))
        script.on("/v2/team/tool/blobs/" + DIGEST, said(307, Location=f"{script.url}/cdn?X-Amz-Signature=secret"))
        script.on("/cdn", broken_off(b"secret", 100))
        upstream = RegistryUpstream(session, Keyring({script.authority: Credentials("me", "secret")})).acting_for(
            OPERATOR
        )
        with pytest.raises(SwellError):
            await upstream.fetch_manifest(image(script.authority))
        with pytest.raises(SwellError):
            await upstream.fetch_config(image(script.authority), Descriptor(digest=DIGEST, size=100))

    output = capsys.readouterr()
    assert "upstream request retried" in output.out
    assert "secret" not in output.out + output.err
