"""What registries have shown us, kept in process: documents by digest for a while, and what tags meant last.

A document is used for a repository only if that repository showed it to the same credentials, and only while the
repository goes on showing us things: after five minutes without an answer the next question goes to the registry.
Where that is in trouble, what was seen before is served, for at most a day, and marked as stale.
"""

import asyncio
import copy
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, Protocol, Self, TypeVar

from cachetools import LRUCache
from msgspec import Struct, field, structs
from prometheus_client import Counter

from swell.concurrency.single_flight import SingleFlight
from swell.errors import Denied, ManifestUnknown, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.registry.credentials import Credentials, Keyring
from swell.registry.principal import PUBLIC, Principal

BYTES = 32 << 20
REPOSITORIES = 2000
TAGS = 256  # of one repository
TAG_SECONDS = 5  # the gateway keeps what it was told for some seconds more
SHOWN_SECONDS = 300
WAIT_SECONDS = 10  # for a registry, where there is something to serve in its stead

STALE = Counter("swell_stale_served", "What was served from memory, its registry being in trouble.", ["what"])

A = TypeVar("A")
_Place = tuple[str, Principal, Credentials | None]


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    def host_name(self, registry: str) -> str: ...

    async def head_manifest(self, reference: Reference) -> Digest: ...

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...

    async def fetch_referrers(self, reference: Reference) -> Document | None: ...


class _Tag(Struct, frozen=True):
    digest: Digest
    seen: float


class _Repository(Struct):
    """A repository as certain credentials see it: when it last showed them something, and its tags."""

    shown: float = float("-inf")
    tags: LRUCache[str, _Tag] = field(default_factory=lambda: LRUCache(TAGS))


class ImageCache:
    """*upstream*'s documents, asked for as seldom as can be; identical questions at one time are one.

    Raises what *upstream* does.
    """

    def __init__(
        self,
        upstream: Upstream,
        keyring: Keyring,
        stale_age: timedelta = timedelta(days=1),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """*keyring* is the one that *upstream* shows; nothing older than *stale_age* is served."""
        self._upstream = upstream
        self._keyring = keyring
        self._stale_seconds = stale_age.total_seconds()
        self._now = now
        self._documents: LRUCache[tuple[_Place, Digest], Document] = LRUCache(BYTES, getsizeof=_weight)
        self._repositories: LRUCache[_Place, _Repository] = LRUCache(REPOSITORIES)
        self._asking: SingleFlight[tuple[_Place, str], Document] = SingleFlight(kept=False)
        self._resolving: SingleFlight[tuple[_Place, str], Digest] = SingleFlight(kept=False)
        self._principal = PUBLIC

    def acting_for(self, principal: Principal) -> Self:
        """A view that reads with the credentials of *principal*, and shares what is cached for that alone."""
        view = copy.copy(self)
        view._principal, view._upstream = principal, self._upstream.acting_for(principal)
        return view

    def host_name(self, registry: str) -> str:
        return self._upstream.host_name(registry)

    async def head_manifest(self, reference: Reference) -> Digest:
        """The digest of what *reference* names, at most 5 s old unless the registry is in trouble."""
        if reference.digest:
            return await self._watched(reference, self._upstream.head_manifest(reference))
        return (await self._meant(reference))[0]

    async def fetch_manifest(self, reference: Reference) -> Document:
        """The manifest or index under *reference*; `stale` when only the past tells what the tag means."""
        if reference.digest:
            return await self._by_digest(
                reference,
                reference.digest,
                lambda: self._upstream.fetch_manifest(reference),
                lambda: self._upstream.head_manifest(reference),
            )
        tag = self._tag(reference, self._stale_seconds)
        known = self._document(reference, tag.digest) if tag else None
        if tag and (known or self._is_young(tag, TAG_SECONDS)):
            digest, stale = await self._meant(reference)
            if stale and known and known.digest == digest:
                return structs.replace(known, stale=True)
            return await self.fetch_manifest(reference.at(digest))
        return await self._asking.run(self._key(reference), lambda: self._read_tag(reference))

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        """Asked for each time: a signature may have come since."""
        return await self._watched(reference, self._upstream.fetch_referrers(reference))

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document:
        document = await self._by_digest(
            reference, descriptor.digest, lambda: self._upstream.fetch_config(reference, descriptor)
        )
        if document.size != descriptor.size:  # the upstream says what is wrong with that
            return await self._upstream.fetch_config(reference, descriptor)
        return structs.replace(document, media_type=descriptor.media_type)

    async def _meant(self, reference: Reference) -> tuple[Digest, bool]:
        """What *reference*'s tag means, and whether that is stale."""
        if tag := self._tag(reference, TAG_SECONDS):
            return tag.digest, False
        tag = self._tag(reference, self._stale_seconds)
        try:
            asked = self._resolving.run(self._key(reference), lambda: self._resolved(reference))
            return await _within(WAIT_SECONDS if tag else None, asked), False
        except (UpstreamFailed, TooManyRequests, TimeoutError) as error:
            if tag is None:
                raise
            age = round(self._now() - tag.seen)
            STALE.labels("tag").inc()
            log.warning("stale tag served", reference=str(reference), digest=tag.digest, age=age, error=str(error))
            return tag.digest, True

    async def _resolved(self, reference: Reference) -> Digest:
        digest = await self._watched(reference, self._upstream.head_manifest(reference))
        self._keep_tag(reference, digest)
        return digest

    async def _read_tag(self, reference: Reference) -> Document:
        document = await self._watched(reference, self._upstream.fetch_manifest(reference))
        self._keep(reference, document.digest, document)
        self._keep_tag(reference, document.digest)
        return document

    async def _by_digest(
        self,
        reference: Reference,
        digest: Digest,
        fetch: Callable[[], Coroutine[Any, Any, Document]],
        look: Callable[[], Coroutine[Any, Any, object]] | None = None,
    ) -> Document:
        """What is under *digest*: *fetch* reads it, *look* sees at less cost that it is still shown."""
        known = self._document(reference, digest)
        if known and self._is_shown(reference, SHOWN_SECONDS):
            return known

        async def read() -> Document:
            if known and look:
                await self._watched(reference, look())
                return known
            document = await self._watched(reference, fetch())
            self._keep(reference, digest, document)
            return document

        spare = known if self._is_shown(reference, self._stale_seconds) else None
        try:
            asked = self._asking.run(self._key(reference.at(digest)), read)
            return await _within(WAIT_SECONDS if spare else None, asked)
        except (UpstreamFailed, TooManyRequests, TimeoutError) as error:
            if spare is None:
                raise
            STALE.labels("document").inc()
            log.warning("kept document served", reference=str(reference.at(digest)), error=str(error))
            return spare

    async def _watched(self, reference: Reference, question: Coroutine[Any, Any, A]) -> A:
        """The answer to *question*; what the registry shows or refuses counts for what we keep."""
        try:
            answer = await question
        except Denied:
            self._repositories.pop(self._place(reference), None)
            raise
        except ManifestUnknown:
            self._repository(reference).tags.pop(reference.reference, None)
            raise
        self._repository(reference).shown = self._now()
        return answer

    def _document(self, reference: Reference, digest: Digest) -> Document | None:
        """A new one for each who asks: what reading it costs in memory goes when they do."""
        document = self._documents.get((self._place(reference), digest))
        return structs.replace(document) if document else None

    def _keep(self, reference: Reference, digest: Digest, document: Document) -> None:
        """Keep *document* under *digest*, which the upstream has found right."""
        if _weight(document) <= self._documents.maxsize:
            self._documents[self._place(reference), digest] = structs.replace(document)

    def _tag(self, reference: Reference, seconds: float) -> _Tag | None:
        """What *reference*'s tag meant at most *seconds* ago."""
        tag = self._repository(reference).tags.get(reference.reference)
        return tag if tag and self._is_young(tag, seconds) else None

    def _keep_tag(self, reference: Reference, digest: Digest) -> None:
        self._repository(reference).tags[reference.reference] = _Tag(digest, self._now())

    def _is_young(self, tag: _Tag, seconds: float) -> bool:
        return self._now() - tag.seen <= seconds

    def _is_shown(self, reference: Reference, seconds: float) -> bool:
        return self._now() - self._repository(reference).shown <= seconds

    def _repository(self, reference: Reference) -> _Repository:
        place = self._place(reference)
        if (found := self._repositories.get(place)) is None:
            found = self._repositories[place] = _Repository()
        return found

    def _key(self, reference: Reference) -> tuple[_Place, str]:
        return self._place(reference), reference.reference

    def _place(self, reference: Reference) -> _Place:
        return reference.name, self._principal, self._keyring.find(reference, self._principal)


async def _within(seconds: float | None, question: Coroutine[Any, Any, A]) -> A:
    """The answer to *question*, which is cancelled with its caller. After *seconds* it goes on: that its registry does
    not answer must be counted.

    Raises:
        TimeoutError: there is no answer after *seconds*.
    """
    if seconds is None:
        return await question
    task = asyncio.ensure_future(question)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task})
        raise
    if not done:
        task.add_done_callback(_read_error)
        raise TimeoutError
    return task.result()


def _read_error(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # read it: nobody else does


def _weight(document: Document) -> int:
    return len(document.content) + 500  # the objects around the bytes
