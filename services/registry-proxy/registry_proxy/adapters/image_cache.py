"""A cache in this process of registries' documents, by digest, and of the digests of their tags.

A cached document serves a repository only if that repository served it to the same credentials, and only if the
repository served those credentials anything within the last five minutes; otherwise the registry is queried again.
While a registry is unavailable, cached documents are served for at most a day, marked as stale.
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
from swell.concurrency.tasks import TaskOwner
from swell.errors import BlobUnknown, Denied, ManifestUnknown, TooManyRequests, UpstreamFailed
from swell.log import log
from swell.observe.instruments import CacheCounter
from swell.oci.descriptor import Descriptor
from swell.oci.digest import Digest
from swell.oci.document import Document
from swell.oci.reference import Reference
from swell.registry.credentials.keyring import Credentials, Keyring
from swell.registry.credentials.principal import PUBLIC, Principal

BYTES = 32 << 20
REPOSITORIES = 2000
TAGS = 256  # of one repository
TAG_SECONDS = 5  # the gateway caches the response for some seconds more
ACCESS_SECONDS = 300
WAIT_SECONDS = 10  # for a registry, if a stale document can be served instead

_TAGS, _DOCUMENTS = CacheCounter("upstream-tags"), CacheCounter("upstream-documents")
STALE = Counter("swell_stale_served", "Documents and tags served from memory while their registry fails.", ["what"])

A = TypeVar("A")
_RepositoryKey = tuple[str, Principal, Credentials | None]


class Upstream(Protocol):
    def acting_for(self, principal: Principal) -> Self: ...

    def host_name(self, registry: str) -> str: ...

    async def head_manifest(self, reference: Reference) -> Digest: ...

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None: ...

    async def fetch_manifest(self, reference: Reference) -> Document: ...

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document: ...

    async def fetch_referrers(self, reference: Reference) -> Document | None: ...


class _Tag(Struct, frozen=True):
    digest: Digest
    fetched: float


class _Repository(Struct):
    """One repository for certain credentials: the time of its last successful response, and its tags."""

    last_success: float = float("-inf")
    tags: LRUCache[str, _Tag] = field(default_factory=lambda: LRUCache(TAGS))


class ImageCache:
    """Caches *upstream*'s documents; concurrent identical requests share one.

    Raises the errors of *upstream*.
    """

    def __init__(
        self,
        upstream: Upstream,
        keyring: Keyring,
        stale_age: timedelta = timedelta(days=1),
        now: Callable[[], float] = time.monotonic,
        on_response: Callable[[str], None] | None = None,
    ) -> None:
        """*keyring* has the credentials that *upstream* sends; stale documents are at most *stale_age* old.

        *on_response* is called with each registry that has answered with a document or a digest.
        """
        self._on_response = on_response
        self._upstream = upstream
        self._keyring = keyring
        self._stale_seconds = stale_age.total_seconds()
        self._now = now
        self._documents: LRUCache[tuple[_RepositoryKey, Digest], Document] = LRUCache(BYTES, getsizeof=_weight)
        self._repositories: LRUCache[_RepositoryKey, _Repository] = LRUCache(REPOSITORIES)
        self._fetches: SingleFlight[tuple[_RepositoryKey, str], Document] = SingleFlight(kept=False)
        self._tag_lookups: SingleFlight[tuple[_RepositoryKey, str], Digest] = SingleFlight(kept=False)
        self._requests = TaskOwner()
        self._principal = PUBLIC

    def acting_for(self, principal: Principal) -> Self:
        """Return a view with the credentials of *principal*, which shares only that principal's cache entries."""
        view = copy.copy(self)
        view._principal, view._upstream = principal, self._upstream.acting_for(principal)
        return view

    def host_name(self, registry: str) -> str:
        return self._upstream.host_name(registry)

    async def head_manifest(self, reference: Reference) -> Digest:
        """Return the digest of *reference*, at most 5 s old unless the registry is unavailable."""
        await self._load_credentials(reference)
        if reference.digest:
            return await self.head_manifest_now(reference)
        return (await self._tag_digest(reference))[0]

    async def head_manifest_now(self, reference: Reference) -> Digest:
        """Return the digest of *reference* from the registry, also when another request for it began earlier."""
        await self._load_credentials(reference)
        digest = await self._record(reference, self._upstream.head_manifest(reference))
        if not reference.digest:
            self._store_tag(reference, digest)
        return digest

    async def current_digest(self, reference: Reference) -> tuple[Digest, bool]:
        """Return the digest that the registry has for *reference*, and whether it is stale.

        Concurrent calls share one request. While the registry is unavailable, the digest is an earlier, stale one.
        """
        await self._load_credentials(reference)
        if reference.digest:
            return await self.head_manifest_now(reference), False
        return await self._tag_digest(reference, fresh=True)

    async def head_blob(self, reference: Reference, digest: Digest) -> int | None:
        """Check that the registry has a blob, never from the cache; return its size in bytes if known."""
        await self._load_credentials(reference)
        return await self._record(reference, self._upstream.head_blob(reference, digest))

    async def fetch_manifest(self, reference: Reference) -> Document:
        """Return the manifest or index of *reference*; `stale` if the tag's digest is from the cache."""
        await self._load_credentials(reference)
        if reference.digest:
            return await self._by_digest(
                reference,
                reference.digest,
                lambda: self._upstream.fetch_manifest(reference),
                lambda: self._upstream.head_manifest(reference),
            )
        tag = self._tag(reference, self._stale_seconds)
        cached = self._document(reference, tag.digest) if tag else None
        if tag and (cached or self._is_recent(tag, TAG_SECONDS)):
            digest, stale = await self._tag_digest(reference)
            if stale and cached and cached.digest == digest:
                return structs.replace(cached, stale=True)
            return await self.fetch_manifest(reference.at(digest))
        return await self._fetches.run(self._key(reference), lambda: self._read_tag(reference))

    async def fetch_referrers(self, reference: Reference) -> Document | None:
        """Return the referrers, never cached: a signature may have been added since."""
        await self._load_credentials(reference)
        return await self._record(reference, self._upstream.fetch_referrers(reference))

    async def fetch_config(self, reference: Reference, descriptor: Descriptor) -> Document:
        await self._load_credentials(reference)
        document = await self._by_digest(
            reference, descriptor.digest, lambda: self._upstream.fetch_config(reference, descriptor)
        )
        if document.size != descriptor.size:  # the upstream raises the error
            return await self._upstream.fetch_config(reference, descriptor)
        return structs.replace(document, media_type=descriptor.media_type)

    async def _load_credentials(self, reference: Reference) -> None:
        """Look up the credentials of users before the cache: its keys contain them, so withdrawn ones find nothing."""
        await self._keyring.load(reference, self._principal)

    async def _tag_digest(self, reference: Reference, *, fresh: bool = False) -> tuple[Digest, bool]:
        """Return the digest of *reference*'s tag, and whether it is stale; a *fresh* one is read from the registry.

        A fresh one that was not known is read with its manifest, which callers need next: with GET only.
        """
        if not fresh and (tag := self._tag(reference, TAG_SECONDS)):
            _TAGS.hit()
            return tag.digest, False
        _TAGS.miss()
        tag = self._tag(reference, self._stale_seconds)
        if fresh and tag is None:
            return (await self._fetches.run(self._key(reference), lambda: self._read_tag(reference))).digest, False
        try:
            lookup = self._tag_lookups.run(self._key(reference), lambda: self.head_manifest_now(reference))
            return await self._wait_at_most(WAIT_SECONDS if tag else None, lookup), False
        except (UpstreamFailed, TooManyRequests, TimeoutError) as error:
            if tag is None:
                raise
            age = round(self._now() - tag.fetched)
            STALE.labels("tag").inc()
            log.warning("stale tag served", reference=str(reference), digest=tag.digest, age=age, error=str(error))
            return tag.digest, True

    async def _read_tag(self, reference: Reference) -> Document:
        document = await self._record(reference, self._upstream.fetch_manifest(reference))
        self._store(reference, document.digest, document)
        self._store_tag(reference, document.digest)
        return document

    async def _by_digest(
        self,
        reference: Reference,
        digest: Digest,
        fetch: Callable[[], Coroutine[Any, Any, Document]],
        check: Callable[[], Coroutine[Any, Any, object]] | None = None,
    ) -> Document:
        """Return the document under *digest*: *fetch* reads it; *check* proves access at less cost."""
        cached = self._document(reference, digest)
        if cached and self._has_access(reference, ACCESS_SECONDS):
            _DOCUMENTS.hit()
            return cached
        _DOCUMENTS.miss()

        async def read() -> Document:
            try:
                if cached and check:
                    await self._record(reference, check())
                    return cached
                document = await self._record(reference, fetch())
            except (ManifestUnknown, BlobUnknown):  # some registries say so to those who have lost access
                self._documents.pop((self._repository_key(reference), digest), None)
                raise
            self._store(reference, digest, document)
            return document

        fallback = cached if self._has_access(reference, self._stale_seconds) else None
        try:
            document = self._fetches.run(self._key(reference.at(digest)), read)
            return await self._wait_at_most(WAIT_SECONDS if fallback else None, document)
        except (UpstreamFailed, TooManyRequests, TimeoutError) as error:
            if fallback is None:
                raise
            STALE.labels("document").inc()
            log.warning("stale document served", reference=str(reference.at(digest)), error=str(error))
            return fallback

    async def _record(self, reference: Reference, request: Coroutine[Any, Any, A]) -> A:
        """Await *request*, and record in the cache whether the registry allowed or refused it."""
        try:
            response = await request
        except Denied:
            self._repositories.pop(self._repository_key(reference), None)
            raise
        except ManifestUnknown:
            self._repository(reference).tags.pop(reference.reference, None)
            raise
        self._repository(reference).last_success = self._now()
        if self._on_response:
            self._on_response(reference.registry)
        return response

    def _document(self, reference: Reference, digest: Digest) -> Document | None:
        """Return a copy: the parsed fields that it caches are freed with it."""
        document = self._documents.get((self._repository_key(reference), digest))
        return structs.replace(document) if document else None

    def _store(self, reference: Reference, digest: Digest, document: Document) -> None:
        """Cache *document* under *digest*, which the upstream verified."""
        if _weight(document) <= self._documents.maxsize:
            self._documents[self._repository_key(reference), digest] = structs.replace(document)

    def _tag(self, reference: Reference, seconds: float) -> _Tag | None:
        """Return *reference*'s tag if it was fetched at most *seconds* ago."""
        tag = self._repository(reference).tags.get(reference.reference)
        return tag if tag and self._is_recent(tag, seconds) else None

    def _store_tag(self, reference: Reference, digest: Digest) -> None:
        self._repository(reference).tags[reference.reference] = _Tag(digest, self._now())

    async def _wait_at_most(self, seconds: float | None, request: Coroutine[Any, Any, A]) -> A:
        """Await *request* for at most *seconds*; cancel it if the caller is cancelled.

        After a timeout the request continues, so that the circuit breaker counts its failure.

        Raises:
            TimeoutError: no response after *seconds*.
        """
        if seconds is None:
            return await request
        task = self._requests.start(request)
        try:
            done, _ = await asyncio.wait({task}, timeout=seconds)
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        if not done:
            task.add_done_callback(_read_error)
            raise TimeoutError
        result: A = task.result()
        return result

    def _is_recent(self, tag: _Tag, seconds: float) -> bool:
        return self._now() - tag.fetched <= seconds

    def _has_access(self, reference: Reference, seconds: float) -> bool:
        return self._now() - self._repository(reference).last_success <= seconds

    def _repository(self, reference: Reference) -> _Repository:
        key = self._repository_key(reference)
        if (repository := self._repositories.get(key)) is None:
            repository = self._repositories[key] = _Repository()
        return repository

    def _key(self, reference: Reference) -> tuple[_RepositoryKey, str]:
        return self._repository_key(reference), reference.reference

    def _repository_key(self, reference: Reference) -> _RepositoryKey:
        return reference.name, self._principal, self._keyring.find(reference, self._principal)


def _read_error(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # mark it as retrieved: no caller awaits it


def _weight(document: Document) -> int:
    return len(document.content) + 500  # the objects around the bytes
