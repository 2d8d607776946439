"""Stores of base images are shared, filled once and never pulled away from under a build."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import pytest

from builder.buildah.base_stores import BaseImages, Generation
from builder.settings import EngineSettings

IMAGE = ("docker.io/library/busybox", "linux/amd64", "public")


def bases(workspace: Path, keep_free: int = 0, age: timedelta = timedelta(minutes=1)) -> BaseImages:
    (workspace / "bases").mkdir(exist_ok=True)
    me = os.getuid()
    return BaseImages(
        EngineSettings(workspace=workspace, base_cache_free=keep_free, base_cache_age=age, first_user_id=me)
    )


class Pull:
    def __init__(self, *, works: bool = True) -> None:
        self.times = 0
        self._works = works

    async def __call__(self) -> bool:
        self.times += 1
        await asyncio.sleep(0)
        return self._works


async def test_builds_share_a_store_across_restarts(tmp_path: Path) -> None:
    """A layer is fetched once, not once a build."""
    shared = bases(tmp_path)
    async with shared.lease() as one, shared.lease() as other:
        assert one == other
    async with bases(tmp_path).lease() as later:
        assert later == one


async def test_an_image_is_pulled_once_for_all_who_ask(tmp_path: Path) -> None:
    """A hundred builds from one image begin at once when a pipeline starts."""
    shared, pull = bases(tmp_path), Pull()
    async with shared.lease() as generation:
        store = generation.store(*IMAGE)
        await asyncio.gather(*(shared.fetch(store, pull) for _ in range(100)))
    assert pull.times == 1


@pytest.mark.parametrize("pull", [Pull(works=False), Pull()])
async def test_what_failed_or_is_old_is_pulled_again(tmp_path: Path, pull: Pull) -> None:
    """A missing image may be there a minute later, a tag may have moved."""
    shared = bases(tmp_path, age=timedelta(minutes=1) if not await pull() else timedelta(0))
    async with shared.lease() as generation:
        for _ in range(2):
            await shared.fetch(generation.store(*IMAGE), pull)
    assert pull.times == 1 + 2


async def test_a_low_disk_begins_another_store_and_spares_the_one_in_use(tmp_path: Path) -> None:
    """What a build reads stays until that build is done."""
    shared = bases(tmp_path, keep_free=1 << 60)
    async with shared.lease() as one:
        async with shared.lease() as other:
            assert one != other
            assert one.path.exists()
        assert one.path.exists()
    assert not one.path.exists()


def test_a_store_of_another_user_is_left_alone(tmp_path: Path) -> None:
    """After the operator has changed the ids, its files could not be read."""
    bases(tmp_path)
    changed = EngineSettings(workspace=tmp_path, first_user_id=os.getuid())
    os.chown(tmp_path / "bases/0", os.getuid() + 1, -1)
    BaseImages(changed)
    assert (tmp_path / "bases/1").is_dir()


def test_a_store_of_all_images_is_left_alone(tmp_path: Path) -> None:
    """Commit aa47f99 had one store for the images of all users, private ones too: no build may see it again."""
    (tmp_path / "bases/0/overlay-images").mkdir(parents=True)
    bases(tmp_path)
    assert (tmp_path / "bases/1").is_dir()


@pytest.mark.parametrize(
    "other",
    [
        ("docker.io/library/alpine", "linux/amd64", "public"),
        ("docker.io/library/busybox", "linux/arm64", "public"),
        ("docker.io/library/busybox", "linux/amd64", "operator"),
        ("linux/amd64", "docker.io/library/busybox", "public"),
    ],
)
def test_each_image_platform_and_principal_has_a_store(other: tuple[str, str, str], tmp_path: Path) -> None:
    """What was fetched with one principal's credentials is never seen by a build of another."""
    generation = Generation(tmp_path)
    assert generation.store(*IMAGE) == generation.store(*IMAGE) != generation.store(*other)
