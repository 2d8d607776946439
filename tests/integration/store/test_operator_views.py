"""What operators see in Redis: workers, queues, registries; and the storage of the backends."""

from datetime import UTC, datetime, timedelta

from redis.asyncio import Redis

from swell.api.operator import Worker
from swell.jobs.pause import Pause
from swell.jobs.worker_report import WorkerReport
from swell.store import keys, registries
from swell.store.builds import RedisBuilds
from swell.store.queue_view import QueueView
from swell.store.registries import SeenRegistries
from swell.store.workers.running_workers import Workers, worker_id
from tests.integration.store.test_queue import NOON, submit

NOW = datetime.now(UTC)


def worker(name: str, service: str = "builder") -> Worker:
    return Worker(id=name, service=service, version="0.2.0", started=NOW)


async def test_workers_are_listed_while_they_report(redis: Redis) -> None:
    """A record expires, and its id leaves the set at the next report of another worker."""
    brief = Workers(redis, timedelta(seconds=1))
    await brief.publish(worker("gone-1"))
    await redis.delete(keys.worker("gone-1"))  # as at its expiry
    await Workers(redis).publish(worker("b-1"))
    await Workers(redis).publish(worker("a-1"))

    assert [each.id for each in await Workers(redis).all()] == ["a-1", "b-1"]
    assert await Workers(redis).get("gone-1") is None


async def test_a_drained_worker_pauses_at_its_next_report_until_it_is_resumed(redis: Redis) -> None:
    """Also after a restart: a new process with the same id is drained from its first report."""
    workers, listen = Workers(redis), "127.0.0.1:9102"
    await workers.set_drained(worker_id(listen), drained=True)

    pause = Pause()
    report = WorkerReport(workers, "builder", listen, pause=pause)
    await report.publish()
    assert pause.is_active
    shown = await workers.get(worker_id(listen))
    assert shown and shown.drained and shown.paused

    await workers.set_drained(worker_id(listen), drained=False)
    await report.publish()
    assert not pause.is_active


async def test_the_queues_of_clients_are_shown_with_their_builds(redis: Redis) -> None:
    """Released builds come first, then those that wait, with their position; pages do not overlap."""
    builds, view = RedisBuilds(redis), QueueView(redis)
    ada, bob = await submit(builds, 5), await submit(builds, 1, "bob")
    await builds.release("ada", 2)
    await builds.begin(ada[0])
    await builds.add_interest(ada[0], "request", "ada@lab.example")
    await builds.add_interest(ada[0], "other", "")

    assert await view.clients() == (["ada", "bob"], True)
    of_ada, of_bob = await view.queues(["ada", "bob"])
    assert (of_ada.waiting, of_ada.running, of_ada.oldest) == (3, 2, NOON)
    assert (of_bob.waiting, of_bob.running) == (1, 0)

    shown = [*await view.builds("ada", 0, 3), *await view.builds("ada", 3, 3)]
    assert [each.id for each in shown] == ada
    assert [each.state for each in shown] == ["running", "ready", "waiting", "waiting", "waiting"]
    assert [each.position for each in shown] == [None, 1, 2, 3, 4]
    assert (shown[0].users, shown[0].attempts, shown[1].users) == (("ada@lab.example",), 1, ())
    assert [each.id for each in await view.builds(None, 0, 10)] == ada[:2]
    assert bob[0] in {each.id for each in await view.builds("bob", 0, 10)}
    assert await view.builds("unknown", 0, 10) == []


async def test_registries_are_recorded_and_bounded(redis: Redis) -> None:
    """A client that names thousands of registries cannot fill the memory: the last 1,000 stay."""
    seen = SeenRegistries(redis)
    seen.add("quay.io")
    await seen.flush()
    await redis.zadd(keys.REGISTRIES, {"quay.io": 1.0})  # long ago
    for number in range(registries.MAX_REGISTRIES + 10):
        seen.add(f"r{number}.example")
    await seen.flush()

    names = [each.registry for each in await seen.all()]
    assert len(names) == registries.MAX_REGISTRIES
    assert "quay.io" not in names
    assert names == sorted(names)
