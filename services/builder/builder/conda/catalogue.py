"""Search the packages of the configured channels by name, for people who choose packages."""

import asyncio
import time
from collections.abc import Sequence
from itertools import islice
from tempfile import TemporaryFile

import msgspec
from cachetools import LRUCache
from msgspec import Struct
from rattler import PackageName, SparseRepoData

from builder.conda.model.channels import address_of, subdir_of
from builder.conda.repodata import Repodata
from builder.conda.sources import Sources
from builder.domain.search import FoundPackage, matching
from swell.errors import NotFound, SwellError, Unavailable, UpstreamFailed
from swell.json_size import has_more_values
from swell.log import log
from swell.oci.platform import Platform

MOST_PACKAGES = 12
MOST_VERSIONS = 30  # of a package
LONGEST_SUMMARY = 160  # characters
AT_ONCE = 2
MOST_WAITING = 32

_SUMMARIES_AGE = 3600.0  # seconds
_MAX_VALUES = 4_000_000
_MAX_BYTES = 64 << 20  # of a channel's descriptions


class _Description(Struct, frozen=True):
    summary: str | None = None


class _ChannelData(Struct, frozen=True):
    """The file `channeldata.json` of a channel."""

    packages: dict[str, _Description] = {}


class Catalogue:
    """Searches *channels*; named ones are below the URL *names*.

    The lists of packages are those of the solver, which renews them when they are old. Descriptions are read from
    `channeldata.json`, if a channel has it.
    """

    def __init__(self, repodata: Repodata, sources: Sources, channels: Sequence[str], names: str) -> None:
        self.channels = tuple(channels)
        self._addresses = tuple(address_of(channel, names) for channel in channels)
        self._repodata = repodata
        self._sources = sources
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._names: LRUCache[int, tuple[SparseRepoData, tuple[str, ...]]] = LRUCache(32)
        self._summaries: dict[str, tuple[float, dict[str, str]]] = {}

    async def search(self, text: str, platform: Platform) -> list[FoundPackage]:
        """The packages whose names contain *text*, the best match first; at most `MOST_PACKAGES`.

        Raises:
            BadRequest: no channel has packages for *platform*.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
            Unavailable: too many searches are waiting.
        """
        subdir = subdir_of(platform)
        if self._waiting >= MOST_WAITING:
            raise Unavailable("too many searches are waiting", retry_after=5)
        self._waiting += 1
        try:
            async with self._slots:
                found = list[FoundPackage]()
                for channel, url in zip(self.channels, self._addresses, strict=True):
                    lists = await self._repodata.for_channels([url], subdir)
                    summaries = await self._descriptions(url)
                    found += await asyncio.to_thread(self._search, text, channel, lists, summaries)
        finally:
            self._waiting -= 1
        by_name = {package.name: package for package in reversed(found)}  # the first channel has priority
        return [by_name[name] for name in islice(matching(text, by_name), MOST_PACKAGES)]

    def _search(
        self, text: str, channel: str, lists: Sequence[SparseRepoData], summaries: dict[str, str]
    ) -> list[FoundPackage]:
        names = {name for each in lists for name in self._names_of(each)}
        return [
            FoundPackage(name, channel, self._versions_of(lists, name), summaries.get(name, "")[:LONGEST_SUMMARY])
            for name in islice(matching(text, names), MOST_PACKAGES)
        ]

    def _names_of(self, data: SparseRepoData) -> tuple[str, ...]:
        if (known := self._names.get(id(data))) is None or known[0] is not data:
            known = self._names[id(data)] = (data, tuple(data.package_names()))
        return known[1]

    def _versions_of(self, lists: Sequence[SparseRepoData], name: str) -> tuple[str, ...]:
        """The versions of *name*, newest first, each once."""
        package = PackageName(name)
        versions = {record.version for each in lists for record in each.load_records(package)}
        return tuple(str(version) for version in sorted(versions, reverse=True)[:MOST_VERSIONS])

    async def _descriptions(self, url: str) -> dict[str, str]:
        """The summary of each package of a channel; empty if it has none."""
        since, summaries = self._summaries.get(url, (0.0, {}))
        if since and time.monotonic() - since < _SUMMARIES_AGE:
            return summaries
        try:
            with TemporaryFile() as file:
                await self._sources.fetch(f"{url}/channeldata.json", file, limit=_MAX_BYTES)
                file.seek(0)
                summaries = await asyncio.to_thread(_parse, file.read())
        except NotFound:
            summaries = {}
        except (SwellError, OSError, msgspec.MsgspecError, RecursionError) as error:
            log.info("descriptions of packages not read", channel=url, error=str(error))
        self._summaries[url] = (time.monotonic(), summaries)
        return summaries


def _parse(content: bytes) -> dict[str, str]:
    if has_more_values(content, _MAX_VALUES):
        raise UpstreamFailed(f"the descriptions have more than {_MAX_VALUES} values")
    data = msgspec.json.decode(content, type=_ChannelData)
    return {name: each.summary[:LONGEST_SUMMARY] for name, each in data.packages.items() if each.summary}
