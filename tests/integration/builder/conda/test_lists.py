"""Lists of packages: those of a stranger's channel are small, because each of their records takes memory."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import zstandard

from builder.conda.cache import Folder
from builder.conda.repodata import Repodata
from builder.conda.sources import Sources
from swell.errors import BadRequest, UpstreamFailed
from swell.net.outbound import Policy, open_session
from tests.integration.builder.conda.channel import Channel, Made, serving

EMPTY = '{"info":{"subdir":"noarch"},"packages":{}}'


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    folder = tmp_path / "channel"
    folder.mkdir()
    with serving(folder) as channel:
        yield channel


@asynccontextmanager
async def lists(channel: Channel, tmp_path: Path, *large: str) -> AsyncIterator[Repodata]:
    async with open_session(Policy(frozenset({channel.url.removeprefix("http://")}))) as session:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        yield Repodata(Sources(session), Folder(tmp_path / "lists", 1 << 30), scratch, timedelta(hours=1), large)


def put(channel: Channel, name: str, count: int, space: str = "") -> None:
    """Write a list of *count* packages for the channel *name*; rattler reads the record of a package later."""
    records = ",".join(f'"a-1-{number}"{space}:1' for number in range(count))
    for subdir, content in {"linux-64": f'{{"packages":{{{records}}}}}', "noarch": EMPTY}.items():
        folder = channel.folder / name / subdir
        folder.mkdir(parents=True)
        (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor().compress(content.encode()))


@pytest.mark.parametrize("space", ["", "\n"])
async def test_a_stranger_s_list_is_small(channel: Channel, tmp_path: Path, space: str) -> None:
    """Two megabytes became 9 GB when the list was opened, and more when it was solved."""
    put(channel, "of", 100_000, space)
    put(channel, "over", 100_001, space)
    async with lists(channel, tmp_path) as repodata:
        assert await repodata.for_channels([f"{channel.url}/of"], "linux-64")
        with pytest.raises(UpstreamFailed, match="SWELL_CONDA_LARGE_CHANNELS"):
            await repodata.for_channels([f"{channel.url}/over"], "linux-64")


async def test_lists_of_strangers_are_small_together(channel: Channel, tmp_path: Path) -> None:
    """A request names up to 32 channels."""
    names = [f"{channel.url}/{name}" for name in "abc"]
    for name in "abc":
        put(channel, name, 70_000)
    async with lists(channel, tmp_path) as repodata:
        assert await repodata.for_channels(names[:2], "linux-64")
        with pytest.raises(BadRequest, match="more than 200000 packages"):
            await repodata.for_channels(names, "linux-64")


async def test_a_long_list_of_a_stranger_is_refused(channel: Channel, tmp_path: Path) -> None:
    """Whatever is in it; nothing of it is stored."""
    folder = channel.folder / "linux-64"
    folder.mkdir(exist_ok=True)
    content = b'{"packages":{}}' + b" " * (64 << 20)
    (folder / "repodata.json.zst").write_bytes(zstandard.ZstdCompressor().compress(content))
    async with lists(channel, tmp_path) as repodata:
        with pytest.raises(UpstreamFailed, match="SWELL_CONDA_LARGE_CHANNELS"):
            await repodata.for_channels([channel.url], "linux-64")


@pytest.mark.parametrize(("below", "is_large"), [("", True), ("/big", True), ("/bi", False), ("/big/of/all", False)])
async def test_a_channel_that_everyone_uses_is_large(
    channel: Channel, tmp_path: Path, below: str, is_large: bool
) -> None:
    """It is at one of the URLs, or in a folder below; a longer name is another channel."""
    put(channel, "big", 100_001)
    async with lists(channel, tmp_path, channel.url + below) as repodata:
        if is_large:
            assert await repodata.for_channels([f"{channel.url}/big"], "linux-64")
        else:
            with pytest.raises(UpstreamFailed):
                await repodata.for_channels([f"{channel.url}/big"], "linux-64")


DEPENDS = {"nested": "b " + "(" * 20_000 + "1" + ")" * 20_000, "spread": "b " + "(1|" * 65 + "1" + ")" * 65}
LONG = "b " + "1|" * 2_100 + "1"


@pytest.mark.parametrize("is_large", [True, False])
@pytest.mark.parametrize("depends", DEPENDS.values(), ids=DEPENDS)
async def test_nested_versions_are_refused(channel: Channel, tmp_path: Path, depends: str, *, is_large: bool) -> None:
    """The solver crashed on them, and with it the builder: anyone can publish a package in a channel."""
    channel.add(Made("a", depends=(depends,)))
    async with lists(channel, tmp_path, *([channel.url] if is_large else [])) as repodata:
        with pytest.raises(UpstreamFailed, match="too many parentheses"):
            await repodata.for_channels([channel.url], "linux-64")


@pytest.mark.parametrize("is_large", [True, False])
async def test_escapes_hide_no_nested_version(channel: Channel, tmp_path: Path, *, is_large: bool) -> None:
    """The solver reads what a JSON escape stands for."""
    channel.add(Made("a", depends=("b " + "(" * 65 + "1" + ")" * 65,)))
    file = channel.folder / "linux-64/repodata.json.zst"
    content = zstandard.decompress(file.read_bytes()).replace(b"(", rb"\u0028")
    file.write_bytes(zstandard.compress(content))
    async with lists(channel, tmp_path, *([channel.url] if is_large else [])) as repodata:
        with pytest.raises(UpstreamFailed, match="too many parentheses"):
            await repodata.for_channels([channel.url], "linux-64")


async def test_a_long_version_of_a_stranger_is_refused(channel: Channel, tmp_path: Path) -> None:
    """The solver needs minutes for 100,000 alternatives, and cannot be stopped."""
    channel.add(Made("a", depends=(LONG,)))
    async with lists(channel, tmp_path) as repodata:
        with pytest.raises(UpstreamFailed, match="a text of more than"):
            await repodata.for_channels([channel.url], "linux-64")


async def test_a_local_channel_is_large(channel: Channel, tmp_path: Path) -> None:
    """The operator has chosen its folder."""
    put(channel, "big", 100_001)
    async with open_session(Policy(frozenset())) as session:
        sources = Sources(session, tmp_path)
        lists = Repodata(sources, Folder(tmp_path / "lists", 1 << 30), tmp_path, timedelta(0), ("https://a.test", ""))
        assert await lists.for_channels([f"file://{channel.folder}/big"], "linux-64")
