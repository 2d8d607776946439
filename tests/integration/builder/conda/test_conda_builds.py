"""Builds of conda-direct for real: what they ask of channels and keep of it, what they refuse, and what they leave."""

import asyncio
import urllib.error
from datetime import timedelta
from pathlib import Path

import pytest

from builder.domain.failure import BuildFailure
from swell.errors import AddressForbidden, BadRequest, SwellError, UpstreamFailed
from swell.oci.platform import parse_platform
from swell.store.records import Reason
from tests.integration.builder.conda.channel import Channel, File, Made, shell
from tests.integration.builder.conda.harness import (
    SPECS,
    CondaHarness,
    OpenHarness,
    channel,
    failure_of,
    harness,
    opened,
)
from tests.integration.builder.harness import Registry

__all__ = ["channel", "harness", "opened"]


async def test_what_was_fetched_is_not_fetched_again(harness: CondaHarness) -> None:
    """A warm cache asks the channel for nothing; its own hash says whether it may be used."""
    await harness.build(*SPECS, to="cached:1")
    harness.channel.requests.clear()
    await harness.build(*SPECS, to="cached:1")
    assert harness.channel.requests == []


async def test_a_spoilt_cache_is_fetched_again(harness: CondaHarness, tmp_path: Path) -> None:
    """A file on our own disk is believed no more than one from elsewhere."""
    first = await harness.build(*SPECS, to="spoilt:1")
    for kept in (tmp_path / "workspace/conda/packages").iterdir():
        kept.write_bytes(b"spoilt")
    harness.channel.requests.clear()
    assert await harness.build(*SPECS, to="spoilt:2") == first
    assert len(harness.channel.requests) == 4


async def test_a_package_with_other_bytes_fails_the_build(harness: CondaHarness) -> None:
    """The channel says one hash and sends other bytes: nothing is pushed, and the message says whose it is."""
    harness.channel.add(Made("forged", files={"bin/forged": File(b"bad")}), sha256="0" * 64)
    with pytest.raises(BuildFailure, match=r"forged-1\.0-0\.conda does not match the sha256 of its channel") as failed:
        await harness.build("forged", to="forged:1")
    assert failed.value.reason is Reason.PACKAGE
    with pytest.raises(urllib.error.HTTPError, match="404"):
        harness.registry.fetch("conda/forged/manifests/1")


async def test_scripts_at_the_installation_are_refused(harness: CondaHarness) -> None:
    """Nothing is run here; the message names the package, and the template that can do it."""
    harness.channel.add(Made("scripted", files={"bin/.scripted-post-link.sh": shell("touch PREFIX/done\n")}))
    with pytest.raises(BuildFailure, match="scripted: .*conda/micromamba:v2") as failed:
        await harness.build("scripted", to="scripted:1")
    assert failed.value.reason is Reason.PACKAGE


async def test_what_cannot_be_solved_is_explained(harness: CondaHarness) -> None:
    """The client receives the solver's own words."""
    with pytest.raises(BadRequest, match="(?s)cannot be installed together.*libgreet >=1,<2"):
        await harness.solve("tool", "libgreet=2")
    with pytest.raises(BadRequest, match="No candidates were found for nothing"):
        await harness.solve("nothing")
    address = [f"{harness.channel.url}/absent"]
    with pytest.raises(BadRequest, match="does not exist: it has no list of packages"):
        await harness.engine.solving.solve(["tool"], address, "", parse_platform("linux/amd64"))


async def test_a_forbidden_channel_is_refused(opened: OpenHarness, tmp_path: Path) -> None:
    """The solver cannot be used to look into this machine's network or disk."""
    async with opened(tmp_path / "guarded", allowed_hosts=frozenset()) as harness:
        with pytest.raises(AddressForbidden):
            await harness.solve("tool")
        with pytest.raises(AddressForbidden):
            await harness.engine.solving.solve(["x"], [f"file://{tmp_path}"], "", parse_platform("linux/amd64"))


async def test_a_folder_of_the_operators_is_a_channel(opened: OpenHarness, channel: Channel, tmp_path: Path) -> None:
    """Below it, and nowhere else."""
    async with opened(tmp_path / "local", conda_local_channels=channel.folder) as harness:
        channels = [f"file://{channel.folder}"]
        lock = await harness.engine.solving.solve(["tool"], channels, "", parse_platform("linux/amd64"))
        await harness.build(to="local:1", lock=lock)
        assert "bin/tool" in harness.tree("local:1")
        with pytest.raises(AddressForbidden):
            await harness.engine.solving.solve(["x"], ["file:///etc"], "", parse_platform("linux/amd64"))


async def test_a_build_leaves_nothing_behind(harness: CondaHarness, tmp_path: Path) -> None:
    """However it ends: well, badly, or cancelled in the middle."""
    harness.channel.add(Made("bad", files={"../outside": File(b"x")}))
    await harness.build(*SPECS, to="clean:1")
    with pytest.raises(BuildFailure, match="is not a path below a prefix"):
        await harness.build("bad", to="clean:2")
    lock = await harness.solve(*SPECS)
    harness.began.clear()
    task = asyncio.ensure_future(harness.build(to="clean:3", lock=lock))
    async with asyncio.timeout(60):
        await harness.began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list((tmp_path / "workspace/conda/builds").iterdir()) == []
    assert list((tmp_path / "workspace/conda/scratch").iterdir()) == []


async def test_the_cache_keeps_to_its_size(opened: OpenHarness, tmp_path: Path) -> None:
    """The package that was not used for the longest time goes; a build that uses one keeps it to its end."""
    async with opened(tmp_path / "small", conda_package_cache=1) as harness:
        await harness.build(*SPECS, to="small:1")
    assert len(list((tmp_path / "small/conda/packages").iterdir())) == 1


async def test_a_list_that_has_become_old_is_asked_for_again(opened: OpenHarness, tmp_path: Path) -> None:
    """What came yesterday can be had today; an unchanged list is not sent again, even to a builder that restarts."""
    async with opened(tmp_path / "old", conda_repodata_age=timedelta(0)) as harness:
        await harness.solve("tool")
        harness.channel.add(Made("late", files={"bin/late": File(b"x")}))
        assert "late-1.0" in await harness.solve("late")
        harness.channel.statuses.clear()
        await harness.solve("tool")
        assert harness.channel.statuses == [304, 304]
    async with opened(tmp_path / "old") as restarted:
        restarted.channel.statuses.clear()
        await restarted.solve("late")
        assert restarted.channel.statuses == [304, 304]
        await restarted.solve("late")
        assert restarted.channel.statuses == [304, 304]


async def test_a_layer_is_made_once(harness: CondaHarness, tmp_path: Path) -> None:
    """What another build has made is taken as it is, unless it is not what it was."""
    first = await harness.build(*SPECS, to="made:1")
    made = tmp_path / "workspace/conda/layers"
    before = {path.name: path.stat().st_ino for path in made.iterdir()}
    assert len(before) == 8  # a layer and a note for each package
    assert await harness.build(*SPECS, to="made:2") == first
    assert {path.name: path.stat().st_ino for path in made.iterdir()} == before
    for path in made.iterdir():
        path.write_bytes(b"spoilt")
    assert await harness.build(*SPECS, to="made-elsewhere:1") == first
    assert {path.name for path in made.iterdir()} == before.keys()


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b"not json"])
async def test_a_malformed_channel_is_no_fault_of_the_server(harness: CondaHarness, spoilt: bytes) -> None:
    """It is the channel's trouble: no stack trace, and nothing of it is kept."""
    for name in ("noarch/repodata.json", "linux-64/repodata.json"):
        (harness.channel.folder / name).write_bytes(spoilt)
    (harness.channel.folder / "linux-64/repodata.json.zst").unlink()
    with pytest.raises(SwellError) as failed:
        await harness.solve("tool")
    assert isinstance(failed.value, UpstreamFailed)
    harness.channel.write()
    assert "tool-1.0" in await harness.solve("tool")


async def test_a_packed_list_that_cannot_be_unpacked_is_the_channels_trouble(harness: CondaHarness) -> None:
    """As is one that is cut off."""
    packed = harness.channel.folder / "linux-64/repodata.json.zst"
    packed.write_bytes(packed.read_bytes()[:-20])
    with pytest.raises(UpstreamFailed):
        await harness.solve("tool")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + b"\0" * 18, b"x" * 1000])
async def test_an_archive_that_is_none_fails_the_build(harness: CondaHarness, content: bytes) -> None:
    """Although it has the hash that the channel lists."""

    class Broken(Made):
        def archive(self) -> bytes:
            return content

    harness.channel.add(Broken("broken"), Broken("broken-old", old_format=True))
    for name in ("broken", "broken-old"):
        with pytest.raises(BuildFailure, match=f"The package {name}-1.0-0.* cannot be added to an image") as failed:
            await harness.build(name, to="broken:1")
        assert failed.value.reason is Reason.PACKAGE


async def test_an_archive_that_is_too_large_fails_the_build(opened: OpenHarness, tmp_path: Path) -> None:
    """Packed or unpacked: a small archive may hold a file that fills the disk."""
    async with opened(tmp_path / "large", conda_package_limit=100_000) as harness:
        zeros = {"share/zeros": File(bytes(1_000_000))}
        harness.channel.add(Made("zeros", files=zeros), Made("zeros-old", files=zeros, old_format=True))
        for name in ("zeros", "zeros-old"):
            with pytest.raises(BuildFailure, match="too large"):
                await harness.build(name, to="large:1")


async def test_credentials_are_those_of_now(opened: OpenHarness, registry: Registry, tmp_path: Path) -> None:
    """An operator takes them away, and the next build has them no more, although the last one had the same image."""
    auth = tmp_path / "auth.json"
    auth.write_bytes(registry.auth_file.read_bytes())
    async with opened(tmp_path / "taken", pull_auth_file=auth) as harness:
        await harness.build("tool", to="taken:1")
        auth.write_text("{}")
        assert await failure_of(harness) is Reason.BASE_IMAGE
        auth.unlink()
        assert await failure_of(harness) is Reason.ENGINE


@pytest.mark.parametrize("lock", ["no lock", "@EXPLICIT\nhttps://x.example.org/noarch/a-1-0.conda#md5"])
async def test_a_lock_that_is_none_is_the_recipes_fault(harness: CondaHarness, lock: str) -> None:
    """A job is a message; another version of Swell may have written it."""
    assert await failure_of(harness, lock=lock) is Reason.RECIPE


async def test_builds_at_once_do_not_meet(harness: CondaHarness) -> None:
    """They share what they fetch and make, and each becomes its own image."""
    lock = await harness.solve(*SPECS)
    harness.channel.requests.clear()
    digests = await asyncio.gather(*(harness.build(to=f"at-once-{number}:1", lock=lock) for number in range(6)))
    assert len(set(digests)) == 1
    assert len(harness.channel.requests) == len(set(harness.channel.requests)) == 4
    assert {name: len(harness.manifest(f"at-once-{name}:1")["layers"]) for name in range(6)} == dict.fromkeys(
        range(6), 6
    )


async def test_a_channel_that_stands_first_is_preferred(harness: CondaHarness) -> None:
    """Though another has a newer version, unless that one is asked for by its name."""
    (harness.channel.folder / "second").mkdir()
    second = Channel(harness.channel.folder / "second", f"{harness.channel.url}/second")
    second.add(Made("tool", "9.0"))
    first = harness.channel.url
    solve = harness.engine.solving.solve
    amd64 = parse_platform("linux/amd64")
    assert "/linux-64/tool-1.0-0.conda" in await solve(["tool"], [first, second.url], "", amd64)
    assert f"{second.url}/linux-64/tool-9.0-0.conda" in await solve([f"{second.url}::tool"], [first], "", amd64)


async def test_packages_are_chosen_for_the_image_not_for_this_machine(harness: CondaHarness) -> None:
    """For the glibc that base images have at least; as if there were a graphics card where nothing else will do."""
    harness.channel.add(
        Made("old", depends=("__glibc >=2.17",)),
        Made("old", "2.0", depends=("__glibc >=2.99",)),
        Made("graphics", depends=("__cuda >=12",)),
        Made("either", build="cpu_0"),
        Made("either", build="gpu_0", depends=("__cuda >=12",)),
    )
    assert "old-1.0" in await harness.solve("old")
    assert "graphics-1.0" in await harness.solve("graphics")
    assert "either-1.0-cpu_0" in await harness.solve("either")
