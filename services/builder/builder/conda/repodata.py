"""What channels have, kept on this disk and asked for again when it has become old.

Source: conda's `repodata.json`, and the same packed as `repodata.json.zst`.
"""

import asyncio
import hashlib
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

from builder.conda.cache import Folder
from builder.conda.sources import Fetched, Sources
from swell.codecs import prepare
from swell.concurrency.single_flight import SingleFlight
from swell.disk import digest_of_file
from swell.errors import BadRequest, NotFound, UpstreamFailed
from swell.log import log

_MOST_BYTES = 2 << 30  # of a channel's list for one platform, unpacked
_MOST_OPEN = 32
_PATIENCE = 300  # seconds for one list; whoever asks is told earlier that it takes long, and may ask again
_PACKED, _PLAIN = "repodata.json.zst", "repodata.json"


class _Told(Struct, frozen=True):
    """What is known of a kept list: the hash of its bytes here, and where and as which version it was read."""

    sha256: str
    file: str
    etag: str


class _Open(Struct, frozen=True):
    data: SparseRepoData
    told: _Told
    since: float


class Repodata:
    """The lists of channels, of which the last used are open."""

    def __init__(self, sources: Sources, folder: Folder, scratch: Path, age: timedelta) -> None:
        """A list is believed for *age*; then the channel is asked whether it has a newer one."""
        self._sources = sources
        self._folder = folder
        self._scratch = scratch
        self._age = age.total_seconds()
        self._known: LRUCache[str, _Open] = LRUCache(_MOST_OPEN)
        self._fetching: SingleFlight[str, _Open | None] = SingleFlight()

    async def of(self, channels: Sequence[str], subdir: str) -> list[SparseRepoData]:
        """What *channels* have for *subdir* and for every platform, in their order.

        Raises:
            BadRequest: there is no such channel.
            UpstreamFailed, AddressForbidden: a channel cannot be read.
        """
        wanted = [(channel, part) for channel in channels for part in (subdir, "noarch")]
        asked = await asyncio.gather(*(self._get(*each) for each in wanted), return_exceptions=True)
        found = [_or_raise(each) for each in asked]
        for channel, own, common in zip(channels, found[::2], found[1::2], strict=True):
            if own is None and common is None:
                raise BadRequest(f"there is no channel {channel}: it has no list of packages for {subdir} or noarch")
        return [each.data for each in found if each]

    async def _get(self, channel: str, subdir: str) -> _Open | None:
        url = f"{channel}/{subdir}"
        known = self._known.get(url)
        if known and time.monotonic() - known.since < self._age:
            return known
        return await self._fetching.run(url, lambda: self._renew(channel, subdir))

    async def _renew(self, channel: str, subdir: str) -> _Open | None:
        url = f"{channel}/{subdir}"
        known = self._known.get(url) or await asyncio.to_thread(self._reopened, channel, subdir)
        for file in (known.told.file,) if known else (_PACKED, _PLAIN):
            with suppress(NotFound):
                self._known[url] = await self._fetch(channel, subdir, file, known)
                return self._known[url]
        if known:
            self._known.pop(url, None)
            self._folder.drop(_told_name(url))
        return None

    async def _fetch(self, channel: str, subdir: str, file: str, known: _Open | None) -> _Open:
        started, url = time.monotonic(), f"{channel}/{subdir}"
        with self._folder.begin() as target:
            etag = known.told.etag if known else ""
            try:
                async with asyncio.timeout(_PATIENCE):
                    fetched = await self._sources.fetch(f"{url}/{file}", target, limit=_MOST_BYTES, known=etag)
            except TimeoutError as error:
                raise UpstreamFailed(f"{url} takes too long to send its list of packages") from error
            if fetched is None and known:
                return _Open(known.data, known.told, time.monotonic())
            if fetched is None:
                raise UpstreamFailed(f"{url} says that nothing has changed, and was not asked")
            made = await asyncio.to_thread(self._kept, channel, subdir, file, fetched, target)
        log.info("channel read", url=f"{url}/{file}", size=fetched.size, seconds=round(time.monotonic() - started, 3))
        return made

    def _kept(self, channel: str, subdir: str, file: str, fetched: Fetched, target: IO[bytes]) -> _Open:
        """The list that was *fetched* to *target*, opened and, now that it can be, kept."""
        url = f"{channel}/{subdir}"
        with ExitStack() as opened:
            sha256, plain = fetched.sha256, target
            if file == _PACKED:
                plain = opened.enter_context(self._folder.begin())
                sha256 = _unpack(target, plain, url)
            told = _Told(sha256, file, fetched.etag)
            try:
                data = SparseRepoData(Channel(channel), subdir, plain.name)
            except (ValueError, OSError) as error:
                raise UpstreamFailed(f"{url} has a list of packages that makes no sense") from error
            note = opened.enter_context(self._folder.begin())
            note.write(msgspec.json.encode(told))
            note.flush()
            self._folder.put(_name(url), Path(plain.name))
            self._folder.put(_told_name(url), Path(note.name))
        return _Open(data, told, time.monotonic())

    def _reopened(self, channel: str, subdir: str) -> _Open | None:
        """What a former life of this builder has left, if it is still what it was."""
        url = f"{channel}/{subdir}"
        note, data = (self._scratch / uuid.uuid4().hex for _ in range(2))
        try:
            if not (self._folder.link(_told_name(url), note) and self._folder.link(_name(url), data)):
                return None
            told = msgspec.json.decode(note.read_bytes(), type=_Told)
            if digest_of_file(data) != f"sha256:{told.sha256}":
                return None
            return _Open(SparseRepoData(Channel(channel), subdir, data), told, time.monotonic())
        except (msgspec.MsgspecError, ValueError, OSError):
            return None
        finally:
            note.unlink(missing_ok=True)
            data.unlink(missing_ok=True)


def _or_raise(found: _Open | BaseException | None) -> _Open | None:
    if isinstance(found, BaseException):
        raise found
    return found


def _unpack(source: IO[bytes], target: IO[bytes], url: str) -> str:
    """Unpack a list; the sha256 of what it is."""
    source.seek(0)
    hashed, size = hashlib.sha256(), 0
    try:
        for piece in zstandard.ZstdDecompressor().read_to_iter(source, read_size=1 << 20, write_size=1 << 20):
            size += len(piece)
            if size > _MOST_BYTES:
                raise UpstreamFailed(f"{url} has more than {_MOST_BYTES} bytes in its list of packages")
            hashed.update(piece)
            target.write(piece)
    except zstandard.ZstdError as error:
        raise UpstreamFailed(f"{url} has a list of packages that cannot be unpacked") from error
    target.flush()
    return hashed.hexdigest()


def _name(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()


def _told_name(url: str) -> str:
    return f"{_name(url)}.told"


prepare()  # this module is imported while threads run
