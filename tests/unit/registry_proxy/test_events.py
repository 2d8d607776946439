"""The registry-proxy's handling of revoked tokens."""

from registry_proxy.domain.link import mark_of
from registry_proxy.handlers.events import RevokedLinks, RevokedTokens
from registry_proxy.pull import Pulls
from swell.jobs.messages import TokenRevoked
from swell.testing.registry import FakeRegistry
from tests.unit.registry_proxy.examples import UBUNTU, WANTED, pull_of
from tests.unit.registry_proxy.memory import MemoryDocuments, MemoryLayers, MemoryLeases

KEY = b"k" * 32


async def test_a_late_event_revokes_the_links_as_well(registry: FakeRegistry) -> None:
    """A disconnected replica misses the broadcast; the queued event still revokes the links."""
    documents, links = MemoryDocuments(), RevokedLinks(KEY)
    pulls = Pulls(registry, documents, MemoryLayers(), MemoryLeases())
    await pulls.manifest(pull_of(registry.push(UBUNTU), WANTED), "22.04")

    await RevokedTokens(pulls, links).handle(TokenRevoked(id="t1"), 1)

    assert await documents.root("t1") is None
    assert mark_of("t1", KEY) in links
    assert mark_of("t2", KEY) not in links
    assert "" not in links
