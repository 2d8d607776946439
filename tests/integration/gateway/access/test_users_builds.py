"""The builds of users in Redis."""

import itertools
from datetime import timedelta

from redis.asyncio import Redis

from gateway.adapters.builds.users_builds import MOST_BUILDS, RedisUsersBuilds


async def test_builds_of_a_user_come_newest_first_in_pages(redis: Redis) -> None:
    """Each build once, at the time of its last request; the names of users are not in Redis."""
    stored = RedisUsersBuilds(redis, timedelta(days=1), itertools.count(1_800_000_000).__next__)
    for build_id in ("bd-1_1", "bd-2_1", "bd-3_1", "bd-1_1"):
        await stored.add("ada", build_id)
    await stored.add("bob", "bd-4_1")

    first, cursor = await stored.page("ada", None, 2)
    second, end = await stored.page("ada", cursor, 2)

    assert (first, second, end) == (["bd-1_1", "bd-3_1"], ["bd-2_1"], None)
    assert await stored.page("cyd", None, 2) == ([], None)
    names = [name.decode() async for name in redis.scan_iter("*")]
    assert not [name for name in names if "ada" in name]
    assert 0 < await redis.ttl(next(name for name in names if "builds-of" in name)) <= 86_400


async def test_only_the_newest_builds_of_a_user_are_stored(redis: Redis) -> None:
    """A user who builds all day does not fill the store."""
    stored = RedisUsersBuilds(redis, timedelta(days=1), itertools.count(1_800_000_000).__next__)
    for number in range(MOST_BUILDS + 3):
        await stored.add("ada", f"bd-{number}_1")

    found, _ = await stored.page("ada", None, MOST_BUILDS + 10)

    assert (len(found), found[-1]) == (MOST_BUILDS, "bd-3_1")
