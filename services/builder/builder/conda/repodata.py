"""The channels' lists of packages (repodata), cached on the local disk and refreshed when they are old.

Source: conda-build, "Channels and generating an index",
https://docs.conda.io/projects/conda-build/en/stable/concepts/generating-index.html; `repodata.json.zst` is the same
file, compressed.

A record of a list takes 0.1 KB of memory when it is opened, and 2.4 KB when it is solved, so two megabytes that a
stranger sends, compressed, could take all memory of the builder. Lists of channels that everyone can use are large.
Those of other channels are small, or are refused. The parser of rattler is recursive: nested parentheses in a version
would end the process.
"""

import asyncio
import hashlib
import re
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import IO

import msgspec
import zstandard
from cachetools import LRUCache
from msgspec import Struct
from rattler import Channel, SparseRepoData
from yarl import URL

from builder.conda.cache import Folder
from builder.conda.sources import Fetched, Sources
from swell.codecs import prepare
from swell.concurrency.single_flight import SingleFlight
from swell.disk import digest_of_file
from swell.errors import BadRequest, NotFound, UpstreamFailed, UpstreamSlow
from swell.log import log

_MAX_BYTES = 2 << 30  # of a channel's list for one platform, uncompressed
_MAX_SMALL = 64 << 20  # bytes, as above, of a channel that is not large
_MAX_PACKAGES = 100_000  # in such a list
_MAX_OF_REQUEST = 200_000  # in all such lists of a request
_MAX_OPEN = 32
_TIMEOUT = 300  # seconds for one list; a request times out earlier and can be repeated
_PACKED, _PLAIN = "repodata.json.zst", "repodata.json"
_ADVICE = "the operator can allow it with SWELL_CONDA_LARGE_CHANNELS"
_MEMBER = re.compile(rb'"[^"]*+"\s*+:')
_NESTED = re.compile(rb'\((?:[^("]*+\(){64}')  # in one text
_WINDOW = 1 << 20  # bytes that are searched at once, while nothing else runs
_TEXT = re.compile(rb'[^"]++')
_MAX_TEXT = 4096  # bytes; the time of rattler grows with the square of the alternatives in a version


class _ListRecord(Struct, frozen=True):
    """The record of a cached list: the sha256 of the stored bytes, its URL and its version."""

    sha256: str
    file: str
    etag: str


class _Open(Struct, frozen=True):
    data: SparseRepoData
    record: _ListRecord
    since: float
    packages: int
    """0 for a list of a large channel."""


class Repodata:
    """The lists of channels; the most recently used ones stay open."""

    def __init__(
        self, sources: Sources, folder: Folder, scratch: Path, age: timedelta, large: Sequence[str] = ()
    ) -> None:
        """A list is used for *age*; after that, the channel is asked for a newer one.

        Lists of channels below the URLs *large*, and in local folders, may have 2 GiB, those of others 64 MiB with
        100,000 packages.
        """
        self._large = tuple(URL(each) for each in large if each.startswith(("http://", "https://")))
        self._sources = sources
        self._folder = folder
        self._scratch = scratch
        self._age = age.total_seconds()
        self._known: LRUCache[str, _Open] = LRUCache(_MAX_OPEN)
        self._fetching: SingleFlight[str, _Open | None] = SingleFlight()

    async def for_channels(self, channels: Sequence[str], subdir: str) -> list[SparseRepoData]:
        """Return the lists of *channels* for *subdir* and for `noarch`, in the channels' order.

        Raises:
            BadRequest: there is no such channel.
            UpstreamFailed, AddressForbidden: a channel cannot be read, or has a list that is too large.
        """
        wanted = [(channel, part) for channel in channels for part in (subdir, "noarch")]
        asked = await asyncio.gather(*(self._get(*each) for each in wanted), return_exceptions=True)
        found = [_or_raise(each) for each in asked]
        for channel, own, common in zip(channels, found[::2], found[1::2], strict=True):
            if own is None and common is None:
                raise BadRequest(
                    f"the channel {channel} does not exist: it has no list of packages for {subdir} or noarch"
                )
        if sum(each.packages for each in found if each) > _MAX_OF_REQUEST:
            raise BadRequest(f"the channels have more than {_MAX_OF_REQUEST} packages; {_ADVICE}")
        return [each.data for each in found if each]

    def _is_large(self, channel: str) -> bool:
        url = URL(channel)
        return url.scheme == "file" or any(
            url.origin() == each.origin() and f"{url.path}/".startswith(f"{each.path.rstrip('/')}/")
            for each in self._large
        )

    async def _get(self, channel: str, subdir: str) -> _Open | None:
        url = f"{channel}/{subdir}"
        known = self._known.get(url)
        if known and time.monotonic() - known.since < self._age:
            return known
        return await self._fetching.run(url, lambda: self._renew(channel, subdir))

    async def _renew(self, channel: str, subdir: str) -> _Open | None:
        url = f"{channel}/{subdir}"
        known = self._known.get(url) or await asyncio.to_thread(self._reopened, channel, subdir)
        for file in (known.record.file,) if known else (_PACKED, _PLAIN):
            with suppress(NotFound):
                self._known[url] = await self._fetch(channel, subdir, file, known)
                return self._known[url]
        if known:
            self._known.pop(url, None)
            self._folder.drop(_record_name(url))
        return None

    async def _fetch(self, channel: str, subdir: str, file: str, known: _Open | None) -> _Open:
        started, url = time.monotonic(), f"{channel}/{subdir}"
        limit = _MAX_BYTES if self._is_large(channel) else _MAX_SMALL
        with self._folder.begin() as target:
            etag = known.record.etag if known else ""
            try:
                async with asyncio.timeout(_TIMEOUT):
                    fetched = await self._sources.fetch(f"{url}/{file}", target, limit=limit, known=etag)
            except TimeoutError as error:
                raise UpstreamSlow(f"{url} did not send its list of packages in time") from error
            if fetched is None and known:
                return _Open(known.data, known.record, time.monotonic(), known.packages)
            if fetched is None:
                raise UpstreamFailed(f"{url} answers that its list has not changed, to a request without a condition")
            made = await asyncio.to_thread(self._store, channel, subdir, file, fetched, target)
        log.info("channel read", url=f"{url}/{file}", size=fetched.size, seconds=round(time.monotonic() - started, 3))
        return made

    def _store(self, channel: str, subdir: str, file: str, fetched: Fetched, target: IO[bytes]) -> _Open:
        """Open the list that was *fetched* to *target*, and cache it if it can be opened."""
        url = f"{channel}/{subdir}"
        with ExitStack() as opened:
            sha256, plain = fetched.sha256, target
            if file == _PACKED:
                plain = opened.enter_context(self._folder.begin())
                sha256 = _unpack(target, plain, url, _MAX_BYTES if self._is_large(channel) else _MAX_SMALL)
            packages = self._check(channel, plain, url)
            record = _ListRecord(sha256, file, fetched.etag)
            try:
                data = SparseRepoData(Channel(channel), subdir, plain.name)
            except (ValueError, OSError) as error:
                raise UpstreamFailed(f"{url} has an invalid list of packages") from error
            note = opened.enter_context(self._folder.begin())
            note.write(msgspec.json.encode(record))
            note.flush()
            self._folder.put(_name(url), Path(plain.name))
            self._folder.put(_record_name(url), Path(note.name))
        return _Open(data, record, time.monotonic(), packages)

    def _check(self, channel: str, file: IO[bytes], url: str) -> int:
        """Check the list *file*, and count its packages, unless the channel is large.

        Raises:
            UpstreamFailed: it has too many packages, or a text that rattler should not parse.
        """
        _check_nesting(file, url)
        if self._is_large(channel):
            return 0
        file.seek(0)
        content, packages = file.read(_MAX_SMALL), 0
        if any(text.end() - text.start() > _MAX_TEXT for text in _TEXT.finditer(content)):
            raise UpstreamFailed(f"{url} has a text of more than {_MAX_TEXT} bytes in its list of packages")
        for member in _MEMBER.finditer(content):
            packages += member.group().count(b"-") > 1  # as in name-version-build
            if packages > _MAX_PACKAGES:
                raise UpstreamFailed(f"{url} has more than {_MAX_PACKAGES} packages in its list; {_ADVICE}")
        return packages

    def _reopened(self, channel: str, subdir: str) -> _Open | None:
        """Open the list that an earlier process cached; None if it is missing or damaged."""
        url = f"{channel}/{subdir}"
        note, data = (self._scratch / uuid.uuid4().hex for _ in range(2))
        try:
            if not (self._folder.link(_record_name(url), note) and self._folder.link(_name(url), data)):
                return None
            record = msgspec.json.decode(note.read_bytes(), type=_ListRecord)
            if digest_of_file(data) != f"sha256:{record.sha256}":
                return None
            with data.open("rb") as file:
                packages = self._check(channel, file, url)
            return _Open(SparseRepoData(Channel(channel), subdir, data), record, time.monotonic(), packages)
        except (msgspec.MsgspecError, ValueError, OSError, UpstreamFailed):
            return None
        finally:
            note.unlink(missing_ok=True)
            data.unlink(missing_ok=True)


def _or_raise(found: _Open | BaseException | None) -> _Open | None:
    if isinstance(found, BaseException):
        raise found
    return found


def _check_nesting(file: IO[bytes], url: str) -> None:
    """Raise `UpstreamFailed` if a text in *file* has 64 open parentheses within a window."""
    file.seek(0)
    last = b""
    while piece := file.read(_WINDOW):
        if _NESTED.search((last + piece).replace(rb"\u0028", b"(")):  # an escape of JSON
            raise UpstreamFailed(f"{url} has a version with too many parentheses in its list of packages")
        last = piece[-_WINDOW // 16 :]


def _unpack(source: IO[bytes], target: IO[bytes], url: str, limit: int) -> str:
    """Decompress a list of at most *limit* bytes; return the sha256 of the result."""
    source.seek(0)
    hashed, size = hashlib.sha256(), 0
    try:
        for piece in zstandard.ZstdDecompressor().read_to_iter(source, read_size=1 << 20, write_size=1 << 20):
            size += len(piece)
            if size > limit:
                raise UpstreamFailed(f"{url} has more than {limit} bytes in its list of packages; {_ADVICE}")
            hashed.update(piece)
            target.write(piece)
    except zstandard.ZstdError as error:
        raise UpstreamFailed(f"{url} has a list of packages that cannot be decompressed") from error
    target.flush()
    return hashed.hexdigest()


def _name(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _record_name(url: str) -> str:
    return f"{_name(url)}.record"


prepare()  # at import, before other threads use these types
