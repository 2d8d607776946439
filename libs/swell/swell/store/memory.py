"""The twin of the builds in Redis, for unit tests."""

import time
from collections import Counter, defaultdict
from datetime import timedelta

from msgspec import structs

from swell.store.builds import CancelOutcome, CancelState, child_ids, ids_of, is_being_cancelled, line_is_full
from swell.store.records import Build, BuildResult, Submission


class MemoryBuilds:
    def __init__(self, room: int = 100) -> None:
        self._room = room
        self._builds: dict[str, Build] = {}
        self._latest: dict[str, str] = {}
        self._counters: Counter[str] = Counter()
        self._lines: defaultdict[str, list[str]] = defaultdict(list)
        self._running: defaultdict[str, list[str]] = defaultdict(list)
        self._ready: list[str] = []
        self._attempts: Counter[str] = Counter()
        self._unpublished: dict[str, float] = {}
        self._open: dict[str, float] = {}
        self._wanted: defaultdict[str, dict[str, tuple[str, bool]]] = defaultdict(dict)
        self._parents: defaultdict[str, set[str]] = defaultdict(set)

    async def submit(self, submission: Submission, *, instead_of: str | None = None) -> tuple[str, bool]:
        current = self._latest.get(submission.target_image)
        if current and current != instead_of:
            return current, False
        if len(self._lines[submission.client]) >= self._room:
            raise line_is_full(self._room)
        for child in child_ids(submission):
            if child in self._builds and self._builds[child].is_cancelled:
                raise is_being_cancelled(child)
        self._counters[submission.container_id] += 1
        build_id = f"bd-{submission.container_id}_{self._counters[submission.container_id]}"
        self._builds[build_id] = Build(id=build_id, submission=submission)
        self._latest[submission.target_image] = build_id
        self._lines[submission.client].append(build_id)
        for child in child_ids(submission):
            self._parents[child].add(build_id)
        return build_id, True

    async def release(self, client: str, share: int) -> list[str]:
        free = max(share - len(self._running[client]), 0)
        released, self._lines[client] = self._lines[client][:free], self._lines[client][free:]
        self._running[client] += released
        self._ready += released
        self._unpublished |= dict.fromkeys(released, time.time())
        self._open |= dict.fromkeys(released, time.time())
        return released

    async def waiting(self) -> list[str]:
        return [client for client, line in self._lines.items() if line]

    def submitted_at(self, build_id: str, *, ago: timedelta) -> None:
        """Let a build be older than it is."""
        for waiting in (self._unpublished, self._open):
            if build_id in waiting:
                waiting[build_id] = time.time() - ago.total_seconds()

    async def published(self, build_id: str) -> None:
        self._unpublished.pop(build_id, None)

    async def unpublished(self, age: timedelta) -> list[str]:
        return _since(self._unpublished, age)

    async def open(self, age: timedelta) -> list[str]:
        return _since(self._open, age)

    async def forget(self, build_id: str) -> None:
        self._unpublished.pop(build_id, None)
        self._open.pop(build_id, None)

    async def latest(self, target_image: str) -> Build | None:
        build_id = self._latest.get(target_image)
        return await self.get(build_id) if build_id else None

    async def get(self, build_id: str) -> Build | None:
        return self._builds.get(build_id)

    async def of(self, container_id: str, *, before: int | None, most: int) -> list[Build]:
        ids = ids_of(container_id, self._counters[container_id], before, most)
        return [self._builds[each] for each in ids if each in self._builds]

    async def position(self, build_id: str) -> int | None:
        if build_id in self._ready:
            return self._ready.index(build_id) + 1
        build = self._builds.get(build_id)
        line = self._lines[build.submission.client] if build else []
        return len(self._ready) + line.index(build_id) + 1 if build_id in line else None

    async def begin(self, build_id: str) -> int:
        self._ready = [each for each in self._ready if each != build_id]
        self._attempts[build_id] += 1
        return self._attempts[build_id]

    async def reopen(self, build_id: str) -> None:
        self._builds[build_id] = structs.replace(self._builds[build_id], result=None)
        self._attempts.pop(build_id, None)
        self._open[build_id] = time.time()

    async def add_interest(self, build_id: str, request_id: str, user: str) -> bool:
        build = self._builds.get(build_id)
        if build and build.is_cancelled:
            return False
        if build is None or build.result is None:
            self._wanted[build_id][request_id] = user, True
        return True

    async def cancel(
        self, build_id: str, result: BuildResult, *, request_id: str, user: str, everybody: bool
    ) -> CancelOutcome:
        if (build := self._builds.get(build_id)) is None:
            return CancelOutcome(CancelState.UNKNOWN)
        if build.result:
            return CancelOutcome(CancelState.ENDED)
        wanted = self._wanted[build_id]
        mine = [each for each, (who, _) in wanted.items() if everybody or each == request_id or (user and who == user)]
        wanted |= {each: (wanted[each][0], False) for each in mine}
        others = 0 if everybody else self._wishes(build_id)
        if not mine and not everybody:
            return CancelOutcome(CancelState.REFUSED, others)
        if others:
            return CancelOutcome(CancelState.LEFT, others)
        left = await self._cancelled(build_id, result)
        orphans = [
            child for child in child_ids(build.submission) if self._is_under_way(child) and not self._wishes(child)
        ]
        return CancelOutcome(left, 0, tuple([(child, await self._cancelled(child, result)) for child in orphans]))

    def _is_under_way(self, build_id: str) -> bool:
        return build_id in self._builds and self._builds[build_id].is_active

    def _wishes(self, build_id: str) -> int:
        parents = sum(map(self._is_under_way, self._parents[build_id]))
        return parents + sum(wants for _, wants in self._wanted[build_id].values())

    async def _cancelled(self, build_id: str, result: BuildResult) -> CancelState:
        self._builds[build_id] = structs.replace(self._builds[build_id], is_cancelled=True)
        if build_id in self._attempts:
            return CancelState.ENDING
        await self.finish(build_id, result)
        await self.forget(build_id)
        return CancelState.TAKEN_OUT

    async def finish(self, build_id: str, result: BuildResult) -> BuildResult:
        if (build := self._builds.get(build_id)) is None:
            return result
        for line in (self._lines, self._running):
            line[build.submission.client] = [each for each in line[build.submission.client] if each != build_id]
        self._ready = [each for each in self._ready if each != build_id]
        self._wanted.pop(build_id, None)
        self._parents.pop(build_id, None)
        self._open.pop(build_id, None)
        if build.result is None:
            self._builds[build_id] = structs.replace(build, result=result)
        return self._builds[build_id].result or result


def _since(waiting: dict[str, float], age: timedelta) -> list[str]:
    before = time.time() - age.total_seconds()
    return [build_id for build_id, since in waiting.items() if since <= before][:100]
