"""The blob cache is optional: it may be unavailable, slow, or used by many replicas at once."""

import asyncio
from pathlib import Path

import pytest
from redis.asyncio import Redis

from registry_proxy.adapters import blob_cache as module
from registry_proxy.adapters.blob_cache import BlobCache
from registry_proxy.domain.link import Scope
from swell.errors import Unavailable
from swell.oci.digest import digest_of
from swell.registry.credentials.principal import PUBLIC
from swell.store.blobs import Blobs
from swell.store.objects import MemoryObjects

DIGEST = digest_of(b"content")
SCOPE = Scope("quay.io", "team/tool", PUBLIC, DIGEST)


class Trouble(MemoryObjects):
    """A store that is asked in vain: it refuses, or does not answer."""

    def __init__(self, *, answers: bool) -> None:
        super().__init__()
        self.answers = answers
        self.asked = 0

    async def size(self, key: str) -> int | None:
        self.asked += 1
        await asyncio.sleep(0 if self.answers else 3600)
        raise Unavailable

    async def put_file(self, key: str, path: Path, media_type: str = "") -> None:
        raise Unavailable


@pytest.mark.parametrize("answers", [True, False])
async def test_a_failing_store_is_skipped_for_a_while(
    redis: Redis, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """One pull detects the outage; the others do not wait for the same timeout."""
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    objects = Trouble(answers=answers)
    cache = BlobCache(Blobs(objects), redis, days=30)

    assert [await cache.for_registry("quay.io").size(DIGEST) for _ in range(5)] == [None] * 5
    assert objects.asked == 1


async def test_a_failed_upload_does_not_fail_the_pull(redis: Redis, tmp_path: Path) -> None:
    """The transfer is complete, even if the upload of its copy fails."""
    await BlobCache(Blobs(Trouble(answers=True)), redis, days=30).store("quay.io", DIGEST, tmp_path / "file")


async def test_one_replica_at_a_time_may_upload_a_blob(redis: Redis) -> None:
    """The lease lasts until the upload is done."""
    first, second = (BlobCache(Blobs(MemoryObjects()), redis, days=30) for _ in range(2))

    ours = await first.lease(SCOPE)
    assert ours
    async with ours:
        assert await second.lease(SCOPE) is None
        assert await second.lease(SCOPE._replace(repository="team/other")) is not None
    again = await second.lease(SCOPE)
    assert again
