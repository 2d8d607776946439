"""Unusual registries over sockets: a pull works as with Docker, or ends with one of Swell's errors."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from registry_proxy.adapters.upstream import RegistryUpstream
from registry_proxy.deliver.transfer import Body, Redirect
from registry_proxy.domain.ranges import Span
from swell import errors
from swell.errors import SwellError
from swell.net.outbound import DIRECT, Policy, Reach, open_session
from swell.oci.document import Document
from swell.oci.reference import parse_reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import OPERATOR
from swell.registry.verifier import verified
from swell.testing.odd_registry.blobs import RANGES
from swell.testing.odd_registry.server import IMAGE, PASSWORD, TOKEN, USER, OddRegistry, Row
from swell.testing.odd_registry.table import ROWS

HURRY = Reach(
    connect_timeout=timedelta(seconds=1), answer_timeout=timedelta(seconds=0.8), idle_timeout=timedelta(seconds=0.4)
)
DEADLINE = 20  # seconds, on a busy machine
LAYER = IMAGE.manifest.layers[0]


@pytest.fixture
async def odd() -> AsyncIterator[OddRegistry]:
    async with OddRegistry((*ROWS, *RANGES)).serving() as registry:
        yield registry


class Puller:
    """Pulls as the registry-proxy does; only private repositories have credentials."""

    def __init__(self, upstream: RegistryUpstream, registry: OddRegistry, row: Row) -> None:
        self.upstream = upstream
        separator = "@" if row.reference.startswith("sha") else ":"
        self.reference = parse_reference(f"{registry.authority}/{row.repository}{separator}{row.reference}")

    async def pull(self) -> list[Document | bytes]:
        """The manifest, and of an image its config and its layer, verified."""
        await self.upstream.head_manifest(self.reference)
        manifest = await self.upstream.fetch_manifest(self.reference)
        if manifest.is_manifest and manifest.config.media_type == IMAGE.manifest.config.media_type:
            config = await self.upstream.fetch_config(self.reference, manifest.config)
            await self.upstream.head_blob(self.reference, LAYER.digest)
            return [manifest, config, await self.layer()]
        return [manifest]

    async def layer(self, part: Span | None = None) -> bytes:
        async with self.upstream.open_blob(self.reference, LAYER.digest, part, followed=True) as found:
            assert not isinstance(found, Redirect)
            return await content(found, None if part else LAYER.size)


async def content(body: Body, size: int | None) -> bytes:
    pieces = b"".join([piece async for piece in body.pieces])
    return verified(pieces, LAYER.digest, size) if size else pieces


async def outcome(registry: OddRegistry, row: Row, part: Span | None = None) -> SwellError | None:
    """The error that a pull of *row* ends with; a pull that works brings the right bytes."""
    keyring = Keyring({f"{registry.authority}/private": Credentials(USER, PASSWORD)})
    reach = HURRY if row.is_slow else DIRECT
    async with open_session(Policy(frozenset({"127.0.0.1"})), reach) as session:
        puller = Puller(RegistryUpstream(session, keyring).acting_for(OPERATOR), registry, row)
        try:
            async with asyncio.timeout(DEADLINE):
                if part:
                    assert await puller.layer(part) == IMAGE.layers[0].gzipped[part.start : part.stop]
                    return None
                manifest, *rest = await puller.pull()
        except SwellError as error:
            return error
    assert isinstance(manifest, Document)
    assert manifest.content == row.manifest.content
    for document in rest:
        assert document in {IMAGE.layers[0].gzipped, IMAGE.config} or isinstance(document, Document)
    return None


def check(registry: OddRegistry, row: Row, error: SwellError | None) -> None:
    if row.right:
        assert isinstance(error, getattr(errors, row.right)), f"{row.name}: {error!r} instead of {row.right}"
        assert error.retry_after == row.retry_after
        assert len(str(error)) < 500
        assert "secret" not in str(error)
    else:
        assert error is None, f"{row.name}: {error!r}"
    secrets = (TOKEN, "Basic")
    leaked = [
        seen for seen in registry.seen if seen[0] == "elsewhere" and any(each in str(seen[3]) for each in secrets)
    ]
    assert not [seen for seen in leaked if not seen[2].startswith("/token")], "credentials went to another origin"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_an_odd_registry_is_read_as_docker_reads_it(odd: OddRegistry, row: Row) -> None:
    """Where another client can pull, so can we; else the error is ours, has nothing of theirs, and comes in time."""
    started = time.monotonic()

    error = await outcome(odd, row)

    check(odd, row, error)
    assert time.monotonic() - started < DEADLINE


@pytest.mark.parametrize("row", RANGES, ids=lambda row: row.name)
async def test_a_part_of_a_layer_comes_from_odd_registries_too(odd: OddRegistry, row: Row) -> None:
    """Some send the whole, some another part: wrong bytes must not go out as the right ones."""
    check(odd, row, await outcome(odd, row, Span(10, 20)))


async def test_odd_repositories_leave_the_others_of_their_registry_alone(odd: OddRegistry) -> None:
    """All of them through one client; then a good image of the same registry is pulled as if nothing had happened."""
    [usual] = [row for row in ROWS if row.name == "auth-usual"]
    keyring = Keyring({f"{odd.authority}/private": Credentials(USER, PASSWORD)})
    async with open_session(Policy(frozenset({"127.0.0.1"}))) as session:
        upstream = RegistryUpstream(session, keyring).acting_for(OPERATOR)
        rows = [row for row in ROWS if not row.is_slow]
        await asyncio.gather(*(Puller(upstream, odd, row).pull() for row in rows), return_exceptions=True)

        found = await Puller(upstream, odd, usual).pull()

    assert found[0] == IMAGE.manifest


def test_the_table_is_complete() -> None:
    """At least the shapes of the public reports, each with a name of its own and a right answer that exists."""
    assert len({row.name for row in ROWS}) == len(ROWS) >= 120
    assert all(hasattr(errors, row.right) for row in ROWS if row.right)
