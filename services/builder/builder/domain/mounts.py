"""Mounts of RUN steps that versions of buildah resolve to paths outside of the build: which they are, and a sentence.

Sources: GitHub advisories GHSA-pmf3-c36m-g5cf (CVE-2024-1753), GHSA-586p-749j-fhwp (CVE-2024-9675),
GHSA-fhqq-8f65-5xfc (CVE-2024-9407), GHSA-5vpc-35f4-r8w6 (CVE-2024-11218); the release branches of
github.com/containers/buildah for versions.
"""

import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from builder.domain.failure import BuildFailure
from swell.store.records import Reason

IsLink = Callable[[str], bool]
"""Whether a path of the build context, or a directory on the way to it, is a symbolic link."""

_PROPAGATIONS = frozenset({"shared", "rshared", "slave", "rslave", "private", "rprivate"})
_ROOTS = frozenset({"", ".", "/"})
_ESCAPE = re.compile(r"^\s*#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_RUN = re.compile(r"^\s*(?:ONBUILD\s+)*RUN\s+(.*)$", re.IGNORECASE | re.DOTALL)


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
    found = re.search(r"\bversion (\d+)\.(\d+)\.(\d+)", output)
    return Version(*map(int, found.groups())) if found else UNKNOWN


class RunMount:
    """One `--mount=` of a RUN instruction."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._options = [(name.strip(), value) for name, _, value in (each.partition("=") for each in text.split(","))]

    @property
    def kinds(self) -> list[str]:
        return self.values("type") or ["bind"]

    def is_kind(self, kind: str) -> bool:
        return any(each == kind or "$" in each for each in self.kinds)

    def values(self, *names: str) -> list[str]:
        """All values of options called *names*: which one counts depends on the engine."""
        return [value for name, value in self._options if name in names]

    @property
    def sources(self) -> list[str]:
        return self.values("source", "src")

    @property
    def targets(self) -> list[str]:
        return self.values("target", "dst", "destination")

    @property
    def is_from(self) -> bool:
        """Whether its source is in another stage or image."""
        return any(self.values("from"))

    @property
    def is_writable(self) -> bool:
        return any(value.lower() != "false" for value in self.values("rw", "readwrite"))


class Flaw(NamedTuple):
    """A flaw and the versions that fix it: the last is the main line's, the others are those of older branches."""

    name: str
    fixed: tuple[Version, ...]
    find: Callable[[Sequence[RunMount], IsLink], tuple[RunMount, str] | None]

    def is_in(self, version: Version) -> bool:
        same_branch = (fixed for fixed in self.fixed if fixed[:2] == version[:2])
        return version < self.fixed[-1] and not any(version >= fixed for fixed in same_branch)


def check_mounts(containerfile: str, version: Version, is_link: IsLink) -> None:
    """Refuse mounts that buildah *version* does not resolve safely.

    Raises:
        BuildFailure: says which mount, why, and what to write instead.
    """
    mounts = tuple(run_mounts(containerfile))
    for flaw in FLAWS:
        if flaw.is_in(version) and (found := flaw.find(mounts, is_link)):
            mount, why = found
            message = f"RUN --mount={mount.text[:200]}: {why} (buildah {version} has {flaw.name})."
            raise BuildFailure(Reason.RECIPE, message)


def run_mounts(containerfile: str) -> Iterator[RunMount]:
    """All mounts of RUN instructions, those of ONBUILD triggers too."""
    for instruction in _instructions(containerfile):
        if found := _RUN.match(instruction):
            for flag in _flags(found[1]):
                if flag.startswith("--mount="):
                    yield RunMount(flag.removeprefix("--mount="))


def _cache_id(mounts: Sequence[RunMount], _: IsLink) -> tuple[RunMount, str] | None:
    known = dict[str, RunMount]()
    for mount in mounts:
        if not mount.is_kind("cache") or mount.is_from:
            continue
        # The target is the id of a cache without one.
        for name in mount.values("id") or mount.targets:
            if "$" in name:
                return mount, "variables in the id of a cache are not checked here; write it out"
            path = posixpath.normpath(name)
            if path.split("/")[0] == "..":
                return mount, "the id of a cache may not lead out of the cache with '..'"
            known[path.strip("/") + "/"] = mount
    for outer in known:
        for inner, mount in known.items():
            if inner != outer and inner.startswith(outer):
                return (
                    mount,
                    f"this cache is inside of the cache '{outer[:-1]}', where a step may have put links; give it an id",
                )
    return None


def _link_in_source(mounts: Sequence[RunMount], is_link: IsLink) -> tuple[RunMount, str] | None:
    for mount in mounts:
        if mount.is_from and (mount.is_kind("bind") or mount.is_kind("cache")):
            if any(source not in _ROOTS for source in mount.sources):
                return mount, (
                    "a source in another stage or image may be a link, which would be followed on the builder; "
                    "use COPY --from, or mount the whole stage without a source"
                )
        elif mount.is_kind("bind"):
            for source in mount.sources:
                if "$" in source:
                    return mount, "variables in the source of a mount are not checked here; write it out"
                path = posixpath.normpath(source.lstrip("/"))
                if path.split("/")[0] == "..":
                    return mount, "the source of a mount may not lead out of the build context with '..'"
                if source not in _ROOTS and is_link(path):
                    return mount, "its source is a link in the build context, which would be followed on the builder"
    return None


def _changed_context(mounts: Sequence[RunMount], _: IsLink) -> tuple[RunMount, str] | None:
    of_context = [mount for mount in mounts if mount.is_kind("bind") and not mount.is_from]
    if any(mount.is_writable for mount in of_context):
        for mount in of_context:
            if any(source not in _ROOTS for source in mount.sources):
                return mount, (
                    "where a step may write to the build context (rw), sources in it may become links; "
                    "leave out rw, or mount the whole context without a source"
                )
    return None


def _propagation(mounts: Sequence[RunMount], _: IsLink) -> tuple[RunMount, str] | None:
    for mount in mounts:
        if any(value not in _PROPAGATIONS for value in mount.values("bind-propagation")):
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
"""CVE-2024-9676 is left out: it needs `--userns=auto`, which is not used here."""


def _instructions(containerfile: str) -> Iterator[str]:
    """The instructions with their continuation lines joined."""
    lines = containerfile.splitlines()
    found = next((match for line in lines[:5] if (match := _ESCAPE.match(line))), None)
    continued = re.compile(re.escape(found[1] if found else "\\") + r"[ \t]*$")
    instruction = ""
    for line in lines:
        if line.lstrip().startswith("#") or (instruction and not line.strip()):
            continue
        instruction += continued.sub("", line)
        if not continued.search(line):
            yield instruction
            instruction = ""
    if instruction:
        yield instruction


def _flags(rest: str) -> Iterator[str]:
    """The words that begin with `--` at the beginning of *rest*, without quotes and backslashes."""
    while (rest := rest.lstrip()).startswith("--"):
        word, quote, at = "", "", 0
        while at < len(rest) and (quote or not rest[at].isspace()):
            if rest[at] == "\\" and at + 1 < len(rest):
                at += 1
                word += rest[at]
            elif rest[at] == quote:
                quote = ""
            elif not quote and rest[at] in "'\"":
                quote = rest[at]
            else:
                word += rest[at]
            at += 1
        yield word
        rest = rest[at:]
