"""Mounts that versions of buildah resolve outside of the build are refused with a sentence; all others are not."""

import pytest

from builder.buildah.mounts import FLAWS, UNKNOWN, Version, check_mounts, mounts_of, parse_version
from builder.domain.failure import BuildFailure
from swell.containerfile import DIALECTS
from swell.store.records import Reason

DEBIAN_12 = Version(1, 28, 2)
CURRENT = Version(1, 38, 1)


def refusal(containerfile: str, version: Version = DEBIAN_12, links: tuple[str, ...] = ()) -> str:
    """Why *containerfile* is refused; empty if it is not."""
    try:
        check_mounts((containerfile,), version, links.__contains__)
    except BuildFailure as failure:
        assert failure.reason is Reason.RECIPE
        return str(failure)
    return ""


@pytest.mark.parametrize(
    "mount",
    [
        "type=cache,target=/root/.cache",
        "type=cache,target=/root/.cache,sharing=locked,uid=5",
        "type=cache,id=pip-3.11,target=/root/.cache/pip",
        "type=cache,id=s/key-pip,target=/root/.cache/pip",
        "type=cache,id=$KNOWN,target=/m",
        "type=bind,source=x,target=/y",
        "type=bind,source=/x/y,target=/y,readonly",
        "type=bind,source=.,target=/y",
        "type=bind,target=/y,rw",
        "target=/y",
        "type=bind,from=build,target=/y",
        "type=bind,from=build,source=/,target=/y",
        "type=bind,from=build,target=/$KNOWN",
        "type=bind,source=x,target=/y,bind-propagation=rprivate",
        "type=tmpfs,target=/tmp",
        "type=secret,id=token,target=/run/../token",
        "type=ssh",
    ],
)
def test_mounts_that_lead_nowhere_else_are_not_refused(mount: str) -> None:
    """They are what people write; no user may lose them because of an old engine."""
    assert refusal(f"FROM base AS build\nENV KNOWN=value\nRUN --mount={mount} true\n") == ""


ESCAPES = {
    "type=cache,id=../../../etc,target=/m": "may not lead out of the cache",
    "type=cache,id=a/../../etc,target=/m": "may not lead out of the cache",
    "type=cache,target=../../etc": "may not lead out of the cache",
    "id=../../etc,target=/m,type=cache": "may not lead out of the cache",
    "type=cache,id=good,target=/m,id=../../bad": "has an option twice",
    "type=cache,id=$ID,target=/m": "may set the variable ID",
    "type=cache,id=${UP}etc,target=/m": "may not lead out of the cache",
    "type=$TYPE,id=../../etc,target=/m": "may set the variable TYPE",
    "type=cache,target=/$TARGET": "may set the variable TARGET",
    "type=tmpfs,target=/m$MORE": "has an option twice",
    "target=/m$FROM": "use COPY --from",
    "target=/m${UNKNOWN}": "may set the variable UNKNOWN",
    "type=cache,from=build,source=/esc,target=/m": "use COPY --from",
    "type=bind,from=build,source=/esc,target=/m,rw": "use COPY --from",
    "type=bind,from=build,src=esc,dst=/m": "use COPY --from",
    "from=alpine,source=/etc/../esc,target=/m": "use COPY --from",
    "type=bind,source=../../etc,target=/m": "may not lead out of the build context",
    "type=bind,source=/../../etc,target=/m": "may not lead out of the build context",
    "type=bind,source=a/../../etc,target=/m": "may not lead out of the build context",
    "type=bind,source=$SOURCE,target=/m": "may set the variable SOURCE",
    "type=bind,source=link,target=/m": "is a link in the build context",
    "type=bind,source=/link,target=/m": "is a link in the build context",
    "type=bind,source=x,target=/m,bind-propagation=suid": "bind-propagation is one of",
}


@pytest.mark.parametrize("mount", ESCAPES)
@pytest.mark.parametrize(
    "form", ["RUN --mount={} ls", "run\t--network=none --mount={} ls", "ONBUILD RUN --mount={} ls"]
)
def test_mounts_that_lead_elsewhere_are_refused(mount: str, form: str) -> None:
    """Each was seen to give a step files of the machine, or is a step on the way there."""
    known = "ENV UP=../../ MORE=,type=bind FROM=,from=build,source=/esc"
    assert ESCAPES[mount] in refusal(f"FROM base AS build\n{known}\n{form.format(mount)}\n", links=("link",))


@pytest.mark.parametrize("mount", ESCAPES)
def test_versions_without_the_flaws_are_trusted(mount: str) -> None:
    """They resolve all of these below the stage, the context or the cache."""
    assert refusal(f"FROM base AS build\nRUN --mount={mount} ls\n", CURRENT, ("link",)) == ""


@pytest.mark.parametrize(
    "steps",
    [
        "RUN --mount=type=cache,id=a,target=/a ln -s / /a/esc\nRUN --mount=type=cache,id=a/esc,target=/m ls /m",
        "RUN --mount=type=cache,target=/m/esc ls /m/esc\nRUN --mount=type=cache,target=/m ln -s / /m/esc",
        "RUN --mount=type=cache,id=/a,target=/m --mount=type=cache,id=a//esc,target=/n ls /m",
    ],
)
def test_a_cache_inside_of_another_is_refused(steps: str) -> None:
    """A step can replace a directory of the outer cache by a link; the inner one would follow it."""
    assert "inside of the cache" in refusal(f"FROM base\n{steps}\n")


def test_one_cache_many_times_is_not_refused() -> None:
    """Steps share a cache by its id."""
    assert refusal("FROM a\n" + "RUN --mount=type=cache,target=/root/.cache true\n" * 3) == ""


def test_a_writable_context_makes_its_sources_links() -> None:
    """CVE-2024-11218: what a step writes to the context stays for the next one."""
    write = "RUN --mount=type=bind,source=/,target=/c,rw ln -s / /c/esc\n"
    assert "leave out rw" in refusal(f"FROM a\n{write}RUN --mount=type=bind,source=esc,target=/m ls\n")
    assert refusal(f"FROM a\n{write.replace('rw', 'rw=false')}RUN --mount=type=bind,source=esc,target=/m ls\n") == ""


@pytest.mark.parametrize(
    "text",
    [
        "RUN \\\n  # a comment\n\n  --mount=type=cache,id=x \\\n true",
        "RUN `\n --mount=type=cache,id=x true",
        "RUN --mount='type=cache,id=x' true",
        'RUN --mount=type=ca"che",id=\\x true',
    ],
)
def test_mounts_are_found_in_all_spellings(text: str) -> None:
    """A spelling that only the engine reads would pass unchecked."""
    for dialect in DIALECTS:
        (mount,) = mounts_of([f"# escape=`\nFROM a\n{text}" if "`" in text else f"FROM a\n{text}"], dialect)
        assert mount.options == (("type", "cache"), ("id", "x"))


def test_words_behind_the_flags_are_no_mounts() -> None:
    """They belong to the command."""
    assert list(mounts_of(["FROM a\nRUN echo --mount=type=cache,id=../x\nCOPY --mount=a b\n"])) == []


def test_lines_of_a_here_document_are_checked() -> None:
    """Buildah 1.28 executes them as instructions, other engines do not."""
    assert "may not lead out" in refusal("FROM a\nRUN <<EOF\nRUN --mount=type=cache,id=../x,target=/m ls\nEOF\n")


def test_triggers_of_base_images_are_checked_with_the_file() -> None:
    """A cache of a trigger may be the outer one of a cache in the file."""
    triggers = "FROM scratch\nRUN --mount=type=cache,target=/a ln -s / /a/esc"
    with pytest.raises(BuildFailure, match="inside of the cache"):
        check_mounts(("FROM a\nRUN --mount=type=cache,id=a/esc,target=/m ls", triggers), DEBIAN_12, lambda _: False)


@pytest.mark.parametrize(
    ("version", "flaws"),
    [
        ("buildah version 1.28.2 (image-spec 1.1.0-rc2, runtime-spec 1.0.2-dev)", 4),
        ("buildah version 1.29.3", 3),
        ("buildah version 1.33.9", 4),
        ("buildah version 1.33.10", 1),
        ("buildah version 1.33.12", 0),
        ("buildah version 1.34.3", 3),
        ("buildah version 1.36.0", 3),
        ("buildah version 1.37.6", 0),
        ("buildah version 1.38.0-dev", 1),
        ("buildah version 1.39.3", 0),
        ("buildah version 2.0.0", 0),
        ("something else", 4),
    ],
)
def test_flaws_are_known_by_version(version: str, flaws: int) -> None:
    """Fixes came to several branches; a version that cannot be read has all flaws."""
    assert sum(flaw.is_in(parse_version(version)) for flaw in FLAWS) == flaws


def test_a_refusal_names_the_mount_the_version_and_the_flaw() -> None:
    """Users see the sentence as the reason of their failed build."""
    message = refusal("FROM a\nRUN --mount=type=cache,id=..,target=/m ls\n")
    assert message == (
        "RUN --mount=type=cache,id=..,target=/m: the id of a cache may not lead out of the cache with '..' "
        "(buildah 1.28.2 has CVE-2024-9675)."
    )
    assert "0.0.0" in refusal("FROM a\nRUN --mount=type=cache,id=..,target=/m ls\n", UNKNOWN)
