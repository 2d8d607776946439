"""Repeated pulls: they are answered at once, and yet checked, limited and counted like the first one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from litestar.types import HTTPScope
from msgspec.structs import replace

from gateway.access.limits import Limits
from gateway.access.vault import VaultUse
from gateway.adapters.access.confirmed_cache import FRESH
from gateway.adapters.access.grants import CachedGrants, RedisGrants
from gateway.adapters.access.vaults import CachedStates, RedisVaults
from gateway.domain.access.vault import VaultState
from gateway.domain.grant import Grant
from gateway.domain.quota import Quota, Quotas
from gateway.handlers import recent_pulls
from gateway.handlers.recent_pulls import RecentPulls
from gateway.handlers.registry import RegistryHandler
from gateway.http.caller import ClientAddress
from gateway.http.edge import Edge
from gateway.pull.gates import NO_GATES, Gates
from gateway.pull.pulls import Pulls
from swell.api.containers import ContainerRecord, ScanMode
from swell.jobs.messages import TokenRevoked, VaultChanged
from swell.oci.document import Document
from swell.oci.media_types import OCI_MANIFEST
from swell.registry.credentials.principal import CredentialRules, with_owners
from tests.unit.gateway.access.buckets import Clock, MemoryBuckets
from tests.unit.gateway.access.test_vault import ENTRY
from tests.unit.gateway.doubles import KnownEnds, MemoryGrants, MemoryImages

TOKEN = "abcdefghijklmnopqrstuvwxyz"
PREFIX = f"/v2/wt/{TOKEN}/library/ubuntu"
TAG = f"{PREFIX}/manifests/22.04"
PERMITS = 40


class Allowing:
    """A scan gate that allows everything, and counts its checks."""

    def __init__(self) -> None:
        self.checks = 0

    async def check(self, *_: object) -> None:
        self.checks += 1


class Site:
    """A gateway for one token, with the real caches and limits."""

    def __init__(self, clock: Clock, gates: Gates = NO_GATES) -> None:
        self.stored, self.images, self.counted = MemoryGrants(), MemoryImages(), 0
        self.grants = CachedGrants(cast(RedisGrants, self.stored), now=clock)
        limits = Limits(MemoryBuckets(clock), Quotas(anonymous_pull=Quota(PERMITS, 3600)), fail_open=False, clock=clock)
        use_case = Pulls(self.grants, KnownEnds(), self.images, limits, "", gates=gates)
        address = ClientAddress()
        self.recent = RecentPulls(self.grants, limits, self._count, address, cast(Any, gates.vault))
        registry = RegistryHandler(use_case, self._count, address, recent=self.recent)
        self.edge = Edge(registry, registry, self.recent)

    def _count(self, _grant: Grant, _document: Document) -> None:
        self.counted += 1

    async def grant(self, **changes: Any) -> None:
        now = datetime.now(UTC)
        grant = Grant(
            token=TOKEN, image="ubuntu:22.04", platform="linux/amd64", created=now, expires=now + timedelta(hours=1)
        )
        await self.grants.put(replace(grant, **changes), cast(ContainerRecord, None))

    async def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
        """The status, the headers without the id of the request, and the body of the response."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        scope = {"type": "http", "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode()}
        scope |= {"query_string": b"", "headers": [(b"host", b"localhost"), *pairs], "client": ("192.0.2.1", 4711)}
        await self.edge(cast(HTTPScope, scope), receive, send)
        fields = {name.decode(): value.decode() for name, value in sent[0]["headers"] if name != b"x-request-id"}
        return sent[0]["status"], fields, sent[1]["body"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def site(clock: Clock) -> Site:
    site = Site(clock)
    await site.grant()
    return site


@pytest.mark.parametrize("kind", ["manifests/22.04", "manifests/DIGEST", "blobs/DIGEST"])
async def test_a_repeated_pull_has_the_same_answer(site: Site, kind: str) -> None:
    """Status, headers and body are equal, and nothing is read for the second one."""
    path = f"{PREFIX}/{kind.replace('DIGEST', site.images.document.digest)}"

    first, read = await site.ask(path), len(site.images.asked)
    second = await site.ask(path)

    assert second == first
    assert len(site.images.asked) == read


async def test_each_manifest_counts(site: Site) -> None:
    """Only GET is a pull: HEAD has the same headers, and no body."""
    for _ in range(3):
        await site.ask(TAG)
    got, head = await site.ask(TAG), await site.ask(TAG, "HEAD")

    assert head == (got[0], got[1], b"")
    assert site.counted == 4


async def test_a_blob_asked_for_with_head_is_no_redirect(site: Site) -> None:
    """HEAD is answered with the size, also after a GET of the same path."""
    path = f"{PREFIX}/blobs/{site.images.document.digest}"
    await site.ask(path)

    assert (await site.ask(path, "HEAD"))[0] == 200


async def test_other_methods_are_refused(site: Site) -> None:
    """A repeated path serves pulls only."""
    await site.ask(TAG)

    assert (await site.ask(TAG, "OPTIONS"))[0] == 405


async def test_a_condition_is_answered(site: Site) -> None:
    """A client that has the manifest gets 304."""
    _, headers, _ = await site.ask(TAG)

    assert (await site.ask(TAG, if_none_match=headers["etag"]))[0] == 304


async def test_a_crawler_is_refused(site: Site) -> None:
    """The checks of the head come first."""
    await site.ask(TAG)

    assert (await site.ask(TAG, user_agent="bingbot/2.0"))[0] == 405


async def test_a_revoked_token_is_refused_at_once(site: Site) -> None:
    """The event of another gateway is enough."""
    await site.ask(TAG)
    del site.stored.stored[TOKEN]
    site.grants.on_revoked(TokenRevoked(id=TOKEN))

    assert (await site.ask(TAG))[0] == 404


async def test_a_token_is_confirmed_again(site: Site, clock: Clock) -> None:
    """Without an event, a revoked token is refused after some seconds."""
    await site.ask(TAG)
    del site.stored.stored[TOKEN]
    clock.now += 3 * FRESH

    assert (await site.ask(TAG))[0] == 404


async def test_a_token_expires(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the token counts, not the time of its last confirmation."""
    await site.ask(TAG)
    monkeypatch.setattr("gateway.adapters.access.confirmed_cache.time.time", lambda: 4_000_000_000.0)

    assert (await site.ask(TAG))[0] == 404


async def test_the_limit_counts_repeated_pulls(site: Site) -> None:
    """Each pull takes a permit."""
    statuses = [(await site.ask(TAG))[0] for _ in range(PERMITS + 2)]

    assert statuses == [200] * PERMITS + [429] * 2
    assert site.counted == PERMITS


async def test_a_location_is_found_again_when_it_expires(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that is about to expire is not sent."""
    await site.grant(expires=datetime(2090, 1, 1, tzinfo=UTC))
    path = f"{PREFIX}/blobs/{site.images.document.digest}"
    await site.ask(path)
    read = len(site.images.asked)
    monkeypatch.setattr("gateway.handlers.recent_pulls.time.time", lambda: 2_000_000_000.0)

    assert (await site.ask(path))[0] == 307
    assert len(site.images.asked) == read + 1


async def test_a_tag_of_referrers_is_always_read(site: Site) -> None:
    """A new signature must be visible."""
    path = f"{PREFIX}/manifests/{str(site.images.document.digest).replace(':', '-')}"
    await site.ask(path)
    read = len(site.images.asked)

    await site.ask(path)

    assert len(site.images.asked) == read + 1


async def test_a_required_scan_is_checked_each_time(clock: Clock) -> None:
    """It may refuse a pull while the token stays valid."""
    check = Allowing()
    site = Site(clock, Gates(scan=check))
    await site.grant(scan_id="sc-1", scan_mode=ScanMode.REQUIRED)

    for _ in range(3):
        await site.ask(TAG)

    assert check.checks == 3


class Vaults:
    """One vault in the store, with a credential for Docker Hub, and the connection over which its changes arrive."""

    def __init__(self, clock: Clock) -> None:
        self.stored = VaultState().with_entry("docker.io", ENTRY)
        self.reads, self.is_connected, self.stats = 0, True, {"reconnects": 0}
        self.states = CachedStates(cast(RedisVaults, self), self, clock)
        self.use = VaultUse(cast(RedisVaults, self), self.states, CredentialRules())

    async def state(self, _owner: str) -> VaultState:
        self.reads += 1
        return self.stored

    def delete(self) -> None:
        """Delete the credential in the store, without an event."""
        self.stored = self.stored.without_entry("docker.io")


@pytest.fixture
def vaults(clock: Clock) -> Vaults:
    return Vaults(clock)


@pytest.fixture
async def users_site(clock: Clock, vaults: Vaults) -> Site:
    """A gateway for a token that was requested with a stored credential."""
    site = Site(clock, Gates(vault=vaults.use))
    await site.grant(principal=with_owners("vault", ["user:ada@1"]))
    return site


@pytest.mark.parametrize("kind", ["manifests/22.04", "blobs/DIGEST"])
async def test_pulls_with_a_stored_credential_are_repeated_at_once(users_site: Site, vaults: Vaults, kind: str) -> None:
    """Neither the image nor the vault is read for the second one."""
    path = f"{PREFIX}/{kind.replace('DIGEST', users_site.images.document.digest)}"
    first, read = await users_site.ask(path), (len(users_site.images.asked), vaults.reads)

    assert await users_site.ask(path) == first
    assert (len(users_site.images.asked), vaults.reads) == read


@pytest.mark.parametrize("kind", ["manifests/22.04", "blobs/DIGEST"])
async def test_the_event_of_a_deleted_credential_stops_repeated_pulls(
    users_site: Site, vaults: Vaults, kind: str
) -> None:
    """The time does not move: nothing but the event counts."""
    path = f"{PREFIX}/{kind.replace('DIGEST', users_site.images.document.digest)}"
    for _ in range(2):
        await users_site.ask(path)
    vaults.delete()
    vaults.states.on_changed(VaultChanged(id="1", owner="user:ada"))

    assert [(await users_site.ask(path))[0] for _ in range(2)] == [403, 403]


async def test_a_vault_is_confirmed_again(users_site: Site, vaults: Vaults, clock: Clock) -> None:
    """Without an event, a deleted credential is refused after some seconds."""
    await users_site.ask(TAG)
    vaults.delete()
    clock.now += 3 * FRESH

    assert (await users_site.ask(TAG))[0] == 403


async def test_each_pull_reads_the_vault_while_no_event_can_arrive(users_site: Site, vaults: Vaults) -> None:
    """The connection is interrupted, and after that, the states from before do not count either."""
    await users_site.ask(TAG)
    vaults.is_connected = False
    read = vaults.reads
    assert [(await users_site.ask(TAG))[0] for _ in range(2)] == [200, 200]
    assert vaults.reads == read + 2

    vaults.delete()
    vaults.is_connected, vaults.stats = True, {"reconnects": 1}

    assert (await users_site.ask(TAG))[0] == 403


async def test_a_pull_that_raced_with_a_deletion_is_not_repeated(users_site: Site, vaults: Vaults) -> None:
    """The credential is deleted after the check of a pull, and before its answer is kept."""
    read = users_site.images.manifest

    async def late(grant: Grant, reference: str) -> Document:
        vaults.delete()
        vaults.states.on_changed(VaultChanged(id="1", owner="user:ada"))
        return await read(grant, reference)

    users_site.images.manifest = late  # type: ignore[method-assign]

    assert [(await users_site.ask(TAG))[0] for _ in range(2)] == [200, 403]


@pytest.mark.parametrize("change", [lambda: None, lambda: setattr(recent_pulls, "MAX_PULLS", 1)])
async def test_only_small_answers_are_kept(
    site: Site, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache is bounded in bytes and in number."""
    monkeypatch.setattr(recent_pulls, "MAX_PULLS", recent_pulls.MAX_PULLS)
    change()
    large = Document(OCI_MANIFEST, b'{"schemaVersion":2,"a":"%s"}' % (b"x" * recent_pulls.MAX_BODY))
    await site.ask(f"{PREFIX}/manifests/{site.images.document.digest}")
    site.images.document = large

    assert [len((await site.ask(TAG))[2]) for _ in range(2)] == [large.size] * 2
    assert len(site.recent._answers) == 1
