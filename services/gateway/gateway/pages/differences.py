"""What differs between a build and the one before it of the same name."""

import asyncio
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, suppress
from difflib import unified_diff
from itertools import islice
from typing import Any, Protocol

import msgspec
from cachetools import TTLCache
from msgspec import Struct

from gateway.builds.queries import record_of
from gateway.pages.locks import Change, changes
from swell.api.builds import BuildRecord
from swell.errors import Unavailable
from swell.store.attestations import Attestation
from swell.store.builds import Builds
from swell.store.records import Build, Submission

MOST_BEFORE = 5
"""Builds before one of which the newest that succeeded is compared."""
MOST_LOCK = 2 << 20
"""Bytes of a lock file, or of a statement about a build, that is compared with another one."""
MOST_LINES = 200
"""Lines of a recipe that are compared."""
MOST_SHOWN = 60
"""Lines of a difference in a page."""
MOST_CACHED, SECONDS = 128, 10

_PACKAGE = re.compile(r"""([ \t]*+-[ \t]*+["']?[\w.:-]++)[ \t=<>!~][\w.*=<>!~,|+ \t-]*+(["']?)[ \t]*+""", re.ASCII)
"""A package with a version in a Conda file."""

MayRead = Callable[[Build, Build], Awaitable[bool]]
"""Whether the viewer of the page of the first build may see the second one."""


class Logs(Protocol):
    async def lock(self, build_id: str) -> AsyncIterator[bytes] | None:
        """The lock file of a build of packages; None when it has none."""

    async def attestation(self, build_id: str, kind: Attestation) -> bytes | None:
        """The signed statement about a build, or its unsigned provenance; None when it is not stored."""


class Difference(Struct, frozen=True):
    """The build before, and what differs: lines of the recipe, packages, and the images below."""

    record: BuildRecord
    is_same_recipe: bool
    is_same_image: bool
    recipe: tuple[str, ...] = ()
    packages: tuple[Change, ...] = ()
    bases: tuple[Change, ...] = ()


class Differences:
    def __init__(self, builds: Builds, logs: Logs) -> None:
        self._builds = builds
        self._logs = logs
        self._cache: TTLCache[tuple[str, str], Difference] = TTLCache(MOST_CACHED, SECONDS)

    async def of(self, build: Build, may_read: MayRead) -> Difference | None:
        """What *build*, which has ended, differs in from the build of the same name before.

        That is the newest one that succeeded of the few before, else the newest one that has ended, among those that
        the viewer may read; None if there is no such build.
        """
        former: Build | None = None
        for each in await self._before(build):
            if each.result is None or (former and not each.result.succeeded) or not await may_read(build, each):
                continue
            former = each
            if each.result.succeeded:
                break
        return await self._compared(build, former) if former else None

    async def _before(self, build: Build) -> list[Build]:
        """The builds before *build*, newest first: those of its series, else those of equal inputs."""
        former, current = list[Build](), build
        while len(former) < MOST_BEFORE and (before := await self._builds.before(current.id)):
            former.append(before)
            current = before
        if former:
            return former
        container_id, _, number = build.id.removeprefix("bd-").rpartition("_")
        return await self._builds.page(container_id, before=int(number), limit=MOST_BEFORE) if container_id else []

    async def _compared(self, build: Build, former: Build) -> Difference:
        key = build.id, former.id
        if (difference := self._cache.get(key)) is None:
            difference = self._cache[key] = await self._compare(build, former)
        return difference

    async def _compare(self, build: Build, former: Build) -> Difference:
        old, new = former.result and former.result.digest, build.result and build.result.digest
        is_same_image = old is not None and old == new
        packages: tuple[Change, ...] = ()
        bases: tuple[Change, ...] = ()
        if old and new and not is_same_image:
            locks = await asyncio.gather(self._lock(former.id), self._lock(build.id))
            packages = changes(*locks) if all(locks) else ()
            below = await asyncio.gather(self._images_below(former.id), self._images_below(build.id))
            bases = tuple(_changed(*below)) if all(below) else ()
        return Difference(
            record=record_of(former),
            is_same_recipe=_recipe_of(former) == _recipe_of(build),
            is_same_image=is_same_image,
            recipe=_changed_lines(_recipe_of(former), _recipe_of(build)),
            packages=packages,
            bases=bases,
        )

    async def _lock(self, build_id: str) -> str:
        """The lock file of a build; empty if it has none, or a very large one."""
        with suppress(Unavailable):
            pieces = await self._logs.lock(build_id)
            content, is_cut = await read_start(pieces, MOST_LOCK) if pieces is not None else (b"", False)
            return "" if is_cut else content.decode(errors="replace")
        return ""

    async def _images_below(self, build_id: str) -> dict[str, str]:
        """The digests of the images that a build has read, by name; empty without provenance."""
        with suppress(Unavailable):
            content = await self._logs.attestation(build_id, Attestation.PROVENANCE)
            return _materials(content) if content and len(content) <= MOST_LOCK else {}
        return {}


def has_other_versions_only(former: Submission, shown: Submission) -> bool:
    """Whether both install the same packages in the same way: versions, and the order of lines, may differ."""
    files = former.environment, shown.environment
    return all(files) and former.containerfile == shown.containerfile and len(set(map(_without_versions, files))) == 1


def _without_versions(environment: str | None) -> tuple[str, ...]:
    return tuple(sorted(_name_of(line) for line in (environment or "").splitlines()))


def _name_of(line: str) -> str:
    """*line* without the version, if it is a package."""
    match = _PACKAGE.fullmatch(line)
    return match[1] + match[2] if match else line


def _recipe_of(build: Build) -> tuple[str, str]:
    """The Conda file, if there is one, and the container file."""
    return build.submission.environment or "", build.submission.containerfile


def _changed_lines(old: tuple[str, str], new: tuple[str, str]) -> tuple[str, ...]:
    """The lines that differ: those of the Conda file, which the container file follows from, else of the other one."""
    at = 0 if old[0] != new[0] else 1
    before, after = (list(islice(text[at].splitlines(), MOST_LINES)) for text in (old, new))
    lines = list(islice(unified_diff(before, after, n=1, lineterm=""), 2, MOST_SHOWN + 2))
    return tuple(line[:500] for line in lines)


def _materials(content: bytes) -> dict[str, str]:
    """The images in a sigstore bundle with provenance, or in an unsigned one; both are written by our services.

    Source: SLSA, "Provenance", https://slsa.dev/spec/v1.0/provenance
    """
    try:
        fields: dict[str, Any] = msgspec.json.decode(content)
        if envelope := fields.get("dsseEnvelope"):
            fields = msgspec.json.decode(b64decode(envelope["payload"]))
        materials = fields["predicate"]["buildDefinition"]["resolvedDependencies"]
        return {each["uri"]: f"sha256:{each['digest']['sha256']}" for each in materials if "digest" in each}
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _changed(old: dict[str, str], new: dict[str, str]) -> Iterator[Change]:
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name, ""), new.get(name, ""))


async def read_start(pieces: AsyncIterator[bytes], most: int) -> tuple[bytes, bool]:
    """The first *most* bytes of *pieces*, and whether there are more."""
    content = b""
    async with aclosing(pieces) as opened:  # type: ignore[type-var]  # all of them are generators
        async for piece in opened:
            content += piece
            if len(content) > most:
                return content[:most], True
    return content, False
