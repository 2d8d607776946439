"""What one gateway does for notices, as a process that can be killed: `python -m … NATS_URL REDIS_URL`.

The settings of its notices come from stdin, as JSON; it prints `ready`.
"""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from gateway.audit.events import NO_AUDIT
from gateway.connections import Connections
from gateway.parts.notices import Pace, open_notices
from gateway.settings import Settings
from swell.concurrency.drain import Drain
from swell.jobs import streams
from swell.jobs.consume import Redelivery
from swell.jobs.settings import NatsSettings
from swell.store.connections import redis
from swell.store.connections.settings import RedisSettings, S3Settings

PACE = Pace(Redelivery(most=10, longest_pause=timedelta(seconds=0.2)), pause=0.01, answer=2, lease=timedelta(seconds=1))


def settings_of(members: dict[str, Any]) -> Settings:
    """The settings of a gateway with *members*; whatever does not concern notices is unused."""
    unused: dict[str, Any] = dict.fromkeys(("registry_proxy", "metrics"), "unused")
    unused |= {"redis": RedisSettings(url=""), "nats": NatsSettings(url=""), "s3": S3Settings(endpoint="")}
    urls: dict[str, Any] = {"server_url": "https://swell.example.org", "build_repository": "registry.example.org/b"}
    return Settings(**urls, **unused, **members)


async def main(nats_url: str, redis_url: str, members: dict[str, Any]) -> None:
    members |= {"ca_file": Path(members["ca_file"]), "webhook_hosts": frozenset(members["webhook_hosts"])}
    async with streams.connect(nats_url, "notifying") as nats, redis.connect(redis_url) as state:
        connections = Connections(state, nats, *[cast(Any, None)] * 6)
        async with open_notices(settings_of(members), connections, Drain(), NO_AUDIT, PACE):
            print("ready", flush=True)  # noqa: T201
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.stdin.readline())))
