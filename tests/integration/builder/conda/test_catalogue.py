"""The catalogue of packages, with real channels over HTTP."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from builder.conda.cache import Folder
from builder.conda.catalogue import MOST_PACKAGES, Catalogue
from builder.conda.repodata import Repodata
from builder.conda.sources import Sources
from builder.domain.search import matching
from swell.errors import BadRequest
from swell.net.outbound import Policy, open_session
from swell.oci.platform import parse_platform
from tests.integration.builder.conda.channel import Channel, Made, serving

AMD64 = parse_platform("linux/amd64")


@pytest.fixture
def channel(tmp_path: Path) -> Iterator[Channel]:
    folder = tmp_path / "channel"
    folder.mkdir()
    with serving(folder) as channel:
        channel.add(
            *(Made("samtools", version) for version in ("1.9", "1.21", "1.10")),
            Made("samtools", "1.21", build="1"),
            Made("bio-samtools-extra"),
            Made("python-sam", subdir="noarch", noarch="python"),
            *(Made(f"many-{number}") for number in range(40)),
        )
        yield channel


@pytest.fixture
async def catalogue(channel: Channel, tmp_path: Path) -> AsyncIterator[Catalogue]:
    async with open_session(Policy(frozenset({channel.url.removeprefix("http://")}))) as session:
        sources, scratch = Sources(session), tmp_path / "scratch"
        scratch.mkdir()
        repodata = Repodata(sources, Folder(tmp_path / "lists", 1 << 30), scratch, timedelta(0))
        yield Catalogue(repodata, sources, (channel.url,), "http://unused.test")


async def test_packages_are_found_by_a_part_of_their_name(catalogue: Catalogue, channel: Channel) -> None:
    """The exact name is first; versions are in the order of Conda, the newest first, each once."""
    found = await catalogue.search("SAMtools", AMD64)

    assert [(each.name, each.versions) for each in found] == [
        ("samtools", ("1.21", "1.10", "1.9")),
        ("bio-samtools-extra", ("1.0",)),
    ]
    assert found[0].channel == channel.url
    assert [each.name for each in await catalogue.search("python-s", AMD64)] == ["python-sam"]
    assert len(await catalogue.search("many", AMD64)) == MOST_PACKAGES
    assert await catalogue.search("no such name", AMD64) == []


async def test_descriptions_are_those_of_the_channel(catalogue: Catalogue, channel: Channel) -> None:
    """A channel need not have them; a long one is cut."""
    data = {"packages": {"samtools": {"summary": "x" * 1000}, "python-sam": {"summary": None}}}
    (channel.folder / "channeldata.json").write_text(json.dumps(data))

    samtools, other = await catalogue.search("samtools", AMD64)

    assert samtools.summary == "x" * 160 and other.summary == ""


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"{",
        b'{"packages": 5}',
        b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"packages": {"python-sam": {"summary": "x"}}, "x": [' + b"1," * 4_000_000 + b"1]}",
    ],
    ids=range(5),
)
async def test_broken_descriptions_are_left_out(catalogue: Catalogue, channel: Channel, content: bytes) -> None:
    """The names and versions are what a user needs."""
    (channel.folder / "channeldata.json").write_bytes(content)
    assert (await catalogue.search("python-sam", AMD64))[0].summary == ""


async def test_new_packages_appear_when_the_list_is_renewed(catalogue: Catalogue, channel: Channel) -> None:
    """The catalogue uses the lists of the solver, which asks for newer ones."""
    assert await catalogue.search("brand", AMD64) == []
    channel.add(Made("brand-new"))
    assert [each.name for each in await catalogue.search("brand", AMD64)] == ["brand-new"]


async def test_what_cannot_be_searched_is_an_error(catalogue: Catalogue, channel: Channel) -> None:
    """A user learns which platform or channel it is."""
    with pytest.raises(BadRequest, match="linux/arm/v7"):
        await catalogue.search("a", parse_platform("linux/arm/v7"))


def test_an_empty_search_finds_nothing() -> None:
    """The page asks for it when it is opened."""
    assert list(matching("  ", ["a"])) == []
