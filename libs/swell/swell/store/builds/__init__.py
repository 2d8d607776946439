"""Builds: their queue, their records and the interest of requests in them, in Redis and in memory.

A build belongs to one target image and has a number. It waits in the queue of its client until it is released.
"""

from swell.store.builds.interest import BuildInterest, CancelOutcome, CancelState
from swell.store.builds.protocol import Builds
from swell.store.builds.queue import BuildQueue
from swell.store.builds.records import BuildRecords
from swell.store.builds.redis import RedisBuilds

__all__ = [
    "BuildInterest",
    "BuildQueue",
    "BuildRecords",
    "Builds",
    "CancelOutcome",
    "CancelState",
    "RedisBuilds",
]
