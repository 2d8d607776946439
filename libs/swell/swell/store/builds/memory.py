"""Builds in memory, for tests; see the Protocols of this package for the methods."""

import time
from collections import Counter, defaultdict
from datetime import timedelta

from msgspec import structs

from swell.store.builds.interest import CancelOutcome, CancelState
from swell.store.builds.queue import child_ids, has_other_inputs, inputs_of, is_being_cancelled, queue_is_full
from swell.store.builds.records import build_ids
from swell.store.records import Build, BuildResult, Listing, Signing, Submission


class MemoryBuilds:
    """The memory twin of `RedisBuilds`; a client's queue has *queue_limit* builds."""

    def __init__(self, queue_limit: int = 100) -> None:
        self._queue_limit = queue_limit
        self._builds: dict[str, Build] = {}
        self._latest: dict[str, str] = {}
        self._signings: dict[str, Signing] = {}
        self._listings: dict[str, Listing] = {}
        self._counters: Counter[str] = Counter()
        self._inputs: dict[str, str] = {}
        self._newest: dict[str, str] = {}
        self._before: dict[str, str] = {}
        self._queued: defaultdict[str, list[str]] = defaultdict(list)
        self._running: defaultdict[str, list[str]] = defaultdict(list)
        self._ready: list[str] = []
        self._attempts: Counter[str] = Counter()
        self._unpublished: dict[str, float] = {}
        self._unfinished: dict[str, float] = {}
        self._interest: defaultdict[str, dict[str, tuple[str, bool]]] = defaultdict(dict)
        self._parents: defaultdict[str, set[str]] = defaultdict(set)

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        current = self._latest.get(submission.target_image)
        if current and current != instead_of:
            return current, False
        if len(self._queued[submission.client]) >= self._queue_limit:
            raise queue_is_full(self._queue_limit)
        known = inputs_of(submission)
        if known and self._inputs.get(submission.container_id, known) != known:
            raise has_other_inputs(submission)
        for child in child_ids(submission):
            if child in self._builds and self._builds[child].is_cancelled:
                raise is_being_cancelled(child)
        build_id = submission.container_id
        if not submission.mirror:
            self._counters[submission.container_id] += 1
            build_id = f"bd-{submission.container_id}_{self._counters[submission.container_id]}"
        if known and not submission.mirror:
            self._inputs.setdefault(submission.container_id, known)
        self._builds[build_id] = Build(id=build_id, submission=submission)
        self._latest[submission.target_image] = build_id
        if submission.series and (before := self._newest.get(submission.series)):
            self._before[build_id] = before
        if submission.series:
            self._newest[submission.series] = build_id
        self._queued[submission.client].append(build_id)
        for child in child_ids(submission):
            self._parents[child].add(build_id)
        return build_id, True

    async def release(self, client: str, limit: int) -> list[str]:
        free = max(limit - len(self._running[client]), 0)
        released, self._queued[client] = self._queued[client][:free], self._queued[client][free:]
        self._running[client] += released
        self._ready += released
        self._unpublished |= dict.fromkeys(released, time.time())
        self._unfinished |= dict.fromkeys(released, time.time())
        return released

    async def waiting(self) -> list[str]:
        return [client for client, queue in self._queued.items() if queue]

    def set_age(self, build_id: str, age: timedelta) -> None:
        """Change the time of release, for tests."""
        for times in (self._unpublished, self._unfinished):
            if build_id in times:
                times[build_id] = time.time() - age.total_seconds()

    async def published(self, build_id: str) -> None:
        self._unpublished.pop(build_id, None)

    async def unpublish_all(self) -> None:
        self._unpublished |= self._unfinished

    async def unpublished(self, age: timedelta) -> list[str]:
        return _older_than(self._unpublished, age)

    async def unfinished(self, age: timedelta) -> list[str]:
        return _older_than(self._unfinished, age)

    async def forget(self, build_id: str) -> None:
        self._unpublished.pop(build_id, None)
        self._unfinished.pop(build_id, None)

    async def position(self, build_id: str) -> int | None:
        if build_id in self._ready:
            return self._ready.index(build_id) + 1
        build = self._builds.get(build_id)
        queue = self._queued[build.submission.client] if build else []
        return len(self._ready) + queue.index(build_id) + 1 if build_id in queue else None

    async def latest(self, target_image: str) -> Build | None:
        build_id = self._latest.get(target_image)
        return await self.get(build_id) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        return self._builds.get(build_id)

    async def before(self, build_id: str) -> Build | None:
        return self._builds.get(self._before.get(build_id, ""))

    async def inputs(self, container_id: str) -> str:
        return self._inputs.get(container_id, "")

    def expire(self, build_id: str) -> None:
        """Remove the record of a build, for tests."""
        build = self._builds.pop(build_id)
        self._latest = {image: latest for image, latest in self._latest.items() if latest != build.id}

    async def page(self, container_id: str, *, before: int | None, limit: int) -> list[Build]:
        ids = build_ids(container_id, self._counters[container_id], before, limit)
        return [self._builds[build_id] for build_id in ids if build_id in self._builds]

    async def begin(self, build_id: str) -> int:
        self._ready = _without(self._ready, build_id)
        self._attempts[build_id] += 1
        return self._attempts[build_id]

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        if (build := self._builds.get(build_id)) is None:
            return result
        client = build.submission.client
        self._queued[client] = _without(self._queued[client], build_id)
        self._running[client] = _without(self._running[client], build_id)
        self._ready = _without(self._ready, build_id)
        self._interest.pop(build_id, None)
        self._parents.pop(build_id, None)
        self._unfinished.pop(build_id, None)
        if build.result is None:
            self._builds[build_id] = structs.replace(build, result=result)
        return self._builds[build_id].result or result

    async def put_signing(self, build_id: str, signing: Signing) -> None:
        self._signings[build_id] = signing

    async def signing(self, build_id: str) -> Signing | None:
        return self._signings.get(build_id)

    async def put_listing(self, build_id: str, listing: Listing | None) -> None:
        if listing is None:
            self._listings.pop(build_id, None)
        else:
            self._listings[build_id] = listing

    async def listing(self, build_id: str) -> Listing | None:
        return self._listings.get(build_id)

    async def reopen(self, build_id: str) -> None:
        self._builds[build_id] = structs.replace(self._builds[build_id], result=None)
        self._attempts.pop(build_id, None)
        self._unfinished[build_id] = time.time()

    async def add_interest(self, build_id: str, request_id: str, user: str) -> bool:
        build = self._builds.get(build_id)
        if build and build.is_cancelled:
            return False
        if build is None or build.result is None:
            self._interest[build_id][request_id] = user, True
        return True

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, all_requests: bool
    ) -> CancelOutcome:
        if (build := self._builds.get(build_id)) is None:
            return CancelOutcome(CancelState.UNKNOWN)
        if build.result:
            return CancelOutcome(CancelState.ENDED)
        interest = self._interest[build_id]
        withdrawn = [
            request
            for request, (owner, _) in interest.items()
            if all_requests or request == request_id or (user and owner == user)
        ]
        interest |= {request: (interest[request][0], False) for request in withdrawn}
        others = 0 if all_requests else self._count_interest(build_id)
        if not withdrawn and not all_requests:
            return CancelOutcome(CancelState.REFUSED, others)
        if others:
            return CancelOutcome(CancelState.STILL_NEEDED, others)
        state = await self._cancel(build_id, result)
        unneeded = [
            child for child in child_ids(build.submission) if self._is_active(child) and not self._count_interest(child)
        ]
        return CancelOutcome(state, 0, tuple([(child, await self._cancel(child, result)) for child in unneeded]))

    def _is_active(self, build_id: str) -> bool:
        return build_id in self._builds and self._builds[build_id].is_active

    def _count_interest(self, build_id: str) -> int:
        parents = sum(map(self._is_active, self._parents[build_id]))
        return parents + sum(is_interested for _, is_interested in self._interest[build_id].values())

    async def _cancel(self, build_id: str, result: BuildResult) -> CancelState:
        self._builds[build_id] = structs.replace(self._builds[build_id], is_cancelled=True)
        if build_id in self._attempts:
            return CancelState.STOPPING
        await self.finish(build_id, result)
        await self.forget(build_id)
        return CancelState.DEQUEUED


def _older_than(times: dict[str, float], age: timedelta) -> list[str]:
    before = time.time() - age.total_seconds()
    return [build_id for build_id, since in times.items() if since <= before][:100]


def _without(ids: list[str], build_id: str) -> list[str]:
    return [each for each in ids if each != build_id]
