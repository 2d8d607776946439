"""Three NATS servers: streams have as many copies as the operator sets, and one server may be killed."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest
from nats.errors import Error as NatsError

from swell.concurrency.retry import retry_until_available
from swell.errors import Unavailable
from swell.jobs import streams
from swell.jobs.publish import publish
from swell.jobs.settings import NatsSettings
from swell.jobs.streams import JOBS, STREAMS, Nats
from swell_embedded.stack import Stack
from tests.e2e.client import until
from tests.integration.jobs.test_consume import Worker, job, working
from tests.nats_cluster import Cluster, open_cluster

JOBS_EACH = 40


@pytest.fixture(scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with open_cluster(tmp_path_factory.mktemp("cluster")) as opened:
        yield opened


async def copies(nats: Nats) -> set[int | None]:
    return {(await nats.stream.stream_info(each.name or "")).config.num_replicas for each in STREAMS}


async def connected(url: str, replicas: int) -> set[int | None]:
    async with streams.connect(NatsSettings(url=url, replicas=replicas), "test") as nats:
        return await copies(nats)


async def test_streams_never_lose_copies(cluster: Cluster) -> None:
    """A service without the setting, such as one of an older version, leaves three copies; more are made."""
    assert await connected(cluster.url, 1) == {1}
    assert await connected(cluster.url, 3) == {3}
    assert await connected(cluster.url, 1) == {3}


async def test_other_choices_of_the_operator_stay(cluster: Cluster) -> None:
    """Swell changes what it sets, and nothing else."""
    async with streams.connect(NatsSettings(url=cluster.url, replicas=3), "test") as nats:
        config = (await nats.stream.stream_info("EVENTS")).config
        await nats.stream.update_stream(config.evolve(description="ours", max_age=86400.0))
    async with streams.connect(NatsSettings(url=cluster.url, replicas=3), "test") as nats:
        config = (await nats.stream.stream_info("EVENTS")).config

    assert config.description == "ours"
    assert config.max_age == 7 * 24 * 3600


async def test_a_cluster_that_is_too_small_is_named(backends: Stack) -> None:
    """The operator learns which setting is wrong, and why."""
    settings = NatsSettings(url=backends.env["SWELL_NATS_URL"], replicas=3)
    with pytest.raises(Unavailable, match="SWELL_NATS_REPLICAS is 3, and NATS has too few servers"):
        async with streams.connect(settings, "test"):
            pass


@pytest.mark.full
@pytest.mark.parametrize("choose", ["connected", "leading"])
async def test_a_killed_server_loses_and_repeats_no_job(cluster: Cluster, choose: str) -> None:
    """The server of the connection, or the one that leads the stream, is killed while jobs are published.

    A job whose first delivery is lost with the server is delivered again.
    """
    async with streams.connect(NatsSettings(url=cluster.url, replicas=3), "test") as nats:
        worker = Worker()
        seen: list[tuple[str, int]] = []
        async with working(nats, worker, slots=4), asyncio.TaskGroup() as tasks:
            publishing = tasks.create_task(publish_all(nats, choose))
            seen.append(await worker.next())
            await until(partial(are_current, nats))  # the stream had fewer copies before
            victim = await leader(nats) if choose == "leading" else cluster.name_of(port_of(nats))
            await cluster.kill(victim)
            await publishing
            while len({build_id for build_id, _ in seen}) < JOBS_EACH:
                seen.append(await worker.next())
            await until(partial(none_is_left, nats))  # a job whose acknowledgement was lost is delivered again first
        await cluster.start(victim)
        while not worker.taken.empty():
            seen.append(worker.taken.get_nowait())
    firsts = [build_id for build_id, attempt in seen if attempt == 1]
    assert len(firsts) == len(set(firsts))  # no job was published twice
    assert {build_id for build_id, _ in seen} == {f"{choose}-{number}" for number in range(JOBS_EACH)}


async def publish_all(nats: Nats, name: str) -> None:
    """Publish each job until the queue confirms it, as the gateway does."""
    for number in range(JOBS_EACH):
        await retry_until_available(partial(publish, nats.stream, job(f"{name}-{number}")))


async def none_is_left(nats: Nats) -> bool:
    try:
        return (await nats.stream.stream_info(JOBS)).state.messages == 0
    except NatsError:  # the cluster elects a leader
        return False


async def are_current(nats: Nats) -> bool:
    """Whether each server with a copy of the jobs has all of them."""
    info = (await nats.stream.stream_info(JOBS)).cluster
    copies = info.replicas if info else None
    return copies is not None and len(copies) == 2 and all(each.current for each in copies)


def port_of(nats: Nats) -> int:
    url = nats.client.connected_url
    assert url
    assert url.port
    return url.port


async def leader(nats: Nats) -> str:
    """The server that leads the stream of jobs."""
    info = (await nats.stream.stream_info(JOBS)).cluster
    assert info
    assert info.leader
    return info.leader
