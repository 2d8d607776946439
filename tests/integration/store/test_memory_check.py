"""An operator's Redis that may remove records is warned of at the start of each service."""

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from swell.store.connections.redis import check_memory, text

EVICTS = "Redis may remove records: set maxmemory-policy to noeviction"
UNLIMITED = "Redis has no memory limit: set maxmemory"


@pytest.mark.parametrize(
    ("policy", "limit", "warnings"),
    [
        ("noeviction", "1gb", []),
        ("noeviction", "0", [UNLIMITED]),
        ("allkeys-lru", "1gb", [EVICTS]),
        ("volatile-ttl", "0", [EVICTS, UNLIMITED]),
    ],
)
async def test_a_policy_that_removes_records_is_warned_of(
    redis: Redis, policy: str, limit: str, warnings: list[str]
) -> None:
    """Tokens, build records and locks would go one by one, without a word."""
    before = {text(name): text(value) for name, value in (await redis.config_get("maxmemory*")).items()}
    try:
        await redis.config_set("maxmemory-policy", policy)
        await redis.config_set("maxmemory", limit)
        with capture_logs() as lines:
            await check_memory(redis)
    finally:
        for name in ("maxmemory", "maxmemory-policy"):
            await redis.config_set(name, before[name])

    assert [line["event"] for line in lines] == warnings
