"""Opens what the gateway needs, and serves."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from gateway.adapters.blobs import BlobStore
from gateway.adapters.ends import BuildEnds
from gateway.adapters.grants import CachedGrants, RedisGrants
from gateway.adapters.images import CachedImages, RemoteImages
from gateway.adapters.jobs import Backends, JobQueue
from gateway.adapters.logs import BuildLogs
from gateway.adapters.pulls import PullTally
from gateway.app import create_app
from gateway.follow import Following
from gateway.handlers.registry import RegistryHandler
from gateway.provision import Plan, Provisioning
from gateway.pull import Pulls
from gateway.settings import Settings
from swell.errors import Unavailable
from swell.http import listening
from swell.jobs import streams
from swell.jobs.consume import hear
from swell.jobs.messages import BuildDone
from swell.log import log
from swell.rpc.channel import connect
from swell.serve import address, run
from swell.store import objects, redis
from swell.store.blobs import BUCKET as LAYERS
from swell.store.blobs import Blobs
from swell.store.builds import RedisBuilds
from swell.store.logs import BUCKET as LOGS

REAP_EVERY = timedelta(seconds=5)


async def main(settings: Settings) -> None:
    async with AsyncExitStack() as opened:
        state = await opened.enter_async_context(redis.connect(settings.redis_url))
        nats = await opened.enter_async_context(streams.connect(settings.nats_url, "gateway"))
        s3 = settings.s3_endpoint, settings.s3_access_key, settings.s3_secret_key
        layers = await opened.enter_async_context(objects.connect(*s3, LAYERS))
        logs = await opened.enter_async_context(objects.connect(*s3, LOGS))
        channel = await opened.enter_async_context(connect(settings.registry_proxy))
        builds = RedisBuilds(state, settings.record_ttl)
        grants = CachedGrants(RedisGrants(state))
        images = CachedImages(RemoteImages(channel), settings.cache_size)
        ends = BuildEnds(builds, settings.pull_wait)
        await hear(nats, BuildDone, ends.heard)
        tally = PullTally(nats.stream)
        plan = Plan(
            server_url=settings.server_url.rstrip("/"),
            build_repository=settings.build_repository,
            token_ttl=settings.token_ttl,
        )
        provisioning = Provisioning(plan, grants, images, builds, JobQueue(nats), BlobStore(Blobs(layers)))
        following = Following(grants, builds, BuildLogs(logs, nats.stream), plan.server_url)
        registry = RegistryHandler(Pulls(grants, ends, images, plan.server_url), tally.pulled)
        app = create_app(provisioning, following, registry, Backends(state, nats))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(tally.tell())
            tasks.create_task(reaping(provisioning))
            await opened.enter_async_context(listening(app, address(settings.listen)))


async def reaping(provisioning: Provisioning) -> None:
    """Look for builds that were stored and not published, for ever."""
    while True:
        try:
            if count := await provisioning.reap():
                log.warning("jobs of a gateway that stopped were published", count=count)
        except Unavailable as error:
            log.warning("cannot look for unpublished jobs", error=str(error))
        await asyncio.sleep(REAP_EVERY.total_seconds())


if __name__ == "__main__":
    run("gateway", Settings, main)
