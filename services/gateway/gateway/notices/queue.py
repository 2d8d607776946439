"""Queue the notices of an end: one for each webhook, and one for each follower who gets e-mail."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Protocol

from gateway.domain.access.identity import Identity
from gateway.domain.notices import End, Follower, Preference
from gateway.notices.hooks import Hooks
from gateway.notices.messages import EmailNotice, WebhookNotice
from swell.errors import Unavailable
from swell.jobs.messages import BuildDone, ScanDone
from swell.log import log


class Followers(Protocol):
    async def add(self, record_id: str, follower: Follower) -> None:
        """Store who has requested a record; at most 100 of one record."""

    async def get(self, record_id: str) -> list[Follower]: ...


class Preferences(Protocol):
    async def of(self, users: Iterable[str]) -> Mapping[str, Preference]:
        """Return the preferences of *users* who have stored one here; raises `Unavailable`."""


class Queue(Protocol):
    async def put(self, notice: WebhookNotice | EmailNotice) -> None:
        """Store *notice*, once for each id; raises `Unavailable`."""


class Follow(Protocol):
    async def follow(self, identity: Identity, *record_ids: str | None) -> None:
        """Send notices to *identity* when these builds, mirrors and scans end."""


class NoNotices:
    """A server that sends no notices."""

    async def follow(self, identity: Identity, *record_ids: str | None) -> None:
        """Do nothing."""


NO_NOTICES = NoNotices()


class Notices:
    """Only records that were requested have followers: the build of one of several platforms has none.

    The preference of a user at a Platform counts, else the one in *preferences*, else *preference*; if this is None, no
    e-mail is sent at all. With *sends_all*, e-mail also goes out for anonymous requests.
    """

    def __init__(
        self,
        followers: Followers,
        queue: Queue,
        hooks: Hooks,
        preference: Preference | None,
        preferences: Preferences,
        *,
        sends_all: bool = False,
    ) -> None:
        self._followers = followers
        self._queue = queue
        self._hooks = hooks
        self._preference = preference
        self._preferences = preferences
        self._sends_all = sends_all

    async def follow(self, identity: Identity, *record_ids: str | None) -> None:
        """As `Follow.follow`. An outage of the store is logged: no build fails because of its notices."""
        for record_id in filter(None, record_ids):
            try:
                await self._followers.add(record_id, Follower.of(identity))
            except Unavailable as error:
                log.warning("follower not stored", id=record_id, error=str(error))

    async def build_done(self, event: BuildDone, _: int) -> None:
        await self._queue_all(End.of_build(event))

    async def scan_done(self, event: ScanDone, _: int) -> None:
        await self._queue_all(End.of_scan(event))

    async def _queue_all(self, end: End) -> None:
        """Queue all notices of *end*; repeating it within ten minutes queues none twice."""
        followers = await self._followers.get(end.id)
        async for owner, name in self._hooks.of(end, followers):
            receiver = blake2b(f"{owner}\n{name}".encode(), digest_size=10).hexdigest() if owner else name
            await self._queue.put(WebhookNotice(id=f"{receiver}:{end.id}", webhook=name, owner=owner, end=end))
        for follower in await self._readers(followers, end):
            name = blake2b(follower.user.encode(), digest_size=10).hexdigest()
            await self._queue.put(EmailNotice(id=f"{end.id}:{name}", user=follower.user, end=end))

    async def _readers(self, followers: Iterable[Follower], end: End) -> list[Follower]:
        """The followers who get e-mail: none about what never began."""
        if (default := self._preference) is None or not end.begun:
            return []
        reachable = [each for each in followers if each.email or self._sends_all]
        stored = await self._preferences.of(each.user for each in reachable if each.user and not each.preference)
        return [
            each
            for each in reachable
            if (each.preference or stored.get(each.user) or default).includes(succeeded=end.succeeded)
        ]
