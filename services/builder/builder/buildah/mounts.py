"""Mounts of RUN steps that versions of buildah resolve to paths outside of the build: they are refused.

Source: CVE-2024-1753, https://github.com/advisories/GHSA-pmf3-c36m-g5cf
Source: CVE-2024-9675, https://github.com/advisories/GHSA-586p-749j-fhwp
Source: CVE-2024-9407, https://github.com/advisories/GHSA-fhqq-8f65-5xfc
Source: CVE-2024-11218, https://github.com/advisories/GHSA-5vpc-35f4-r8w6
Source: fixed versions, release branches of https://github.com/containers/buildah
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from builder.domain.failure import BuildFailure
from swell.containerfile import BUILDAH_1_28, DIALECTS, Dialect, Mount, parse
from swell.errors import BadRequest
from swell.store.records import Reason

IsLink = Callable[[str], bool]
"""Whether a path of the build context, or a directory on the way to it, is a symbolic link."""

_PROPAGATIONS = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})
_ROOTS = frozenset({"", ".", "/"})


class Version(NamedTuple):
    """A version of buildah."""

    major: int
    minor: int
    patch: int

    def __str__(self) -> str:
        return ".".join(map(str, self))


UNKNOWN = Version(0, 0, 0)
"""Has all flaws."""


def parse_version(output: str) -> Version:
    """Read what `buildah --version` prints."""
    match = re.search(r"\bversion (\d+)\.(\d+)\.(\d+)", output)
    return Version(*map(int, match.groups())) if match else UNKNOWN


class Flaw(NamedTuple):
    """A flaw and the versions that fix it: the last is the main line's, the others are those of older branches."""

    name: str
    fixed: tuple[Version, ...]
    find: Callable[[Sequence[Mount], IsLink], tuple[Mount, str] | None]

    def is_in(self, version: Version) -> bool:
        same_branch = (fixed for fixed in self.fixed if fixed[:2] == version[:2])
        return version < self.fixed[-1] and not any(version >= fixed for fixed in same_branch)


def check_mounts(texts: Sequence[str], version: Version, is_link: IsLink) -> None:
    """Refuse mounts that buildah *version* does not resolve safely.

    *texts* are the container file and the triggers (ONBUILD) of its base images. Each is checked as every known engine
    reads it.

    Raises:
        BuildFailure: the message has the mount, the reason, and what to write instead.
    """
    flaws = [flaw for flaw in FLAWS if flaw.is_in(version)]
    if not flaws:
        return  # such a version may be given any container file that it can read
    by_dialect = [tuple(mounts_of(texts, dialect)) for dialect in DIALECTS]
    for mounts in by_dialect:
        for mount in mounts:
            if mount.uncertain:
                why = (
                    f"the base image may set the variable {min(mount.uncertain)[:80]} to anything; write its value out"
                )
                raise _refused(mount, why, flaws[0], version)
        for flaw in flaws:
            if unsafe := flaw.find(mounts, is_link):
                raise _refused(*unsafe, flaw, version)


def has_mounts(texts: Sequence[str]) -> bool:
    """Return whether a step of *texts* has a mount as some known engine reads them, or they cannot be read.

    buildah's key of a step has the text of its mounts, not what is in them: another stage, or the context, or a cache
    that an earlier step of the same build has filled. A stranger could so give others the result of a common step.
    """
    try:
        return any(True for dialect in DIALECTS for _ in mounts_of(texts, dialect))
    except BuildFailure:
        return True


def mounts_of(texts: Sequence[str], dialect: Dialect = BUILDAH_1_28) -> Iterator[Mount]:
    """All mounts of RUN instructions in *texts*, those that ONBUILD keeps included, as *dialect* reads them.

    Raises:
        BuildFailure: a text cannot be read, or a mount has an option twice.
    """
    for text in texts:
        try:
            yield from parse(text, dialect).mounts()
        except BadRequest as error:
            raise BuildFailure(
                Reason.RECIPE, f"The mounts of the container file cannot be checked: {error}."
            ) from error


def _refused(mount: Mount, why: str, flaw: Flaw, version: Version) -> BuildFailure:
    message = f"RUN --mount={mount.written[:200]}: {why} (buildah {version} has {flaw.name})."
    return BuildFailure(Reason.RECIPE, message)


def _values(mount: Mount, *names: str) -> list[str]:
    """The values of all options called *names*: which one counts depends on the engine."""
    return [value for name, value in mount.options if name in names]


def _sources(mount: Mount) -> list[str]:
    return _values(mount, "source", "src")


def _cache_id(mounts: Sequence[Mount], _: IsLink) -> tuple[Mount, str] | None:
    known = dict[str, Mount]()
    for mount in mounts:
        if mount.type != "cache" or mount.origin:
            continue
        # The target is the id of a cache without one.
        for name in _values(mount, "id") or _values(mount, "target", "dst", "destination"):
            path = posixpath.normpath(name)
            if path.split("/")[0] == "..":
                return mount, "the id of a cache may not lead out of the cache with '..'"
            known[path.strip("/") + "/"] = mount
    for outer in known:
        for inner, mount in known.items():
            if inner != outer and inner.startswith(outer):
                why = (
                    f"this cache is inside of the cache '{outer[:-1]}', where a step may have put links; give it an id"
                )
                return mount, why
    return None


def _link_in_source(mounts: Sequence[Mount], is_link: IsLink) -> tuple[Mount, str] | None:
    for mount in mounts:
        if mount.origin and mount.type in {"bind", "cache"}:
            if any(source not in _ROOTS for source in _sources(mount)):
                return mount, (
                    "a source in another stage or image may be a link, which would be followed on the builder; "
                    "use COPY --from, or mount the whole stage without a source"
                )
        elif mount.type == "bind":
            for source in _sources(mount):
                path = posixpath.normpath(source.lstrip("/"))
                if path.split("/")[0] == "..":
                    return mount, "the source of a mount may not lead out of the build context with '..'"
                if source not in _ROOTS and is_link(path):
                    return mount, "its source is a link in the build context, which would be followed on the builder"
    return None


def _changed_context(mounts: Sequence[Mount], _: IsLink) -> tuple[Mount, str] | None:
    of_context = [mount for mount in mounts if mount.type == "bind" and not mount.origin]
    if any(value.lower() != "false" for mount in of_context for value in _values(mount, "rw", "readwrite")):
        for mount in of_context:
            if any(source not in _ROOTS for source in _sources(mount)):
                return mount, (
                    "where a step may write to the build context (rw), sources in it may become links; "
                    "leave out rw, or mount the whole context without a source"
                )
    return None


def _propagation(mounts: Sequence[Mount], _: IsLink) -> tuple[Mount, str] | None:
    for mount in mounts:
        if any(value not in _PROPAGATIONS for value in _values(mount, "bind-propagation")):
            return mount, f"bind-propagation is one of {', '.join(sorted(_PROPAGATIONS))}"
    return None


FLAWS = (
    Flaw(
        "CVE-2024-9675",
        (Version(1, 26, 8), Version(1, 33, 10), Version(1, 35, 5), Version(1, 37, 5), Version(1, 38, 0)),
        _cache_id,
    ),
    Flaw(
        "CVE-2024-1753",
        (Version(1, 29, 3), Version(1, 31, 5), Version(1, 33, 10), Version(1, 34, 2), Version(1, 35, 1)),
        _link_in_source,
    ),
    Flaw(
        "CVE-2024-11218",
        (Version(1, 33, 12), Version(1, 35, 5), Version(1, 37, 6), Version(1, 38, 1)),
        _changed_context,
    ),
    Flaw("CVE-2024-9407", (Version(1, 33, 10), Version(1, 35, 5), Version(1, 37, 4)), _propagation),
)
"""CVE-2024-9676 is left out: it needs `--userns=auto`, which the builder does not use."""


def has_flaws(version: Version) -> bool:
    """Whether *version* has any of the `FLAWS`."""
    return any(flaw.is_in(version) for flaw in FLAWS)
