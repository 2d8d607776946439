"""Which frontends and options a build may choose."""

import pytest

from builder.buildkit.policy import check, syntax_of, target_of
from builder.domain.failure import BuildFailure
from swell.api.containers import BuildOptions


@pytest.mark.parametrize(
    ("text", "syntax"),
    [
        ("# syntax=docker/dockerfile:1\nFROM x", "docker/dockerfile:1"),
        ("#syntax = docker/dockerfile:1.7-labs  \nFROM x", "docker/dockerfile:1.7-labs"),
        ("# escape=`\n# syntax=a/b\nFROM x", "a/b"),
        ("#!/bin/x\n# syntax=a/b\nFROM x", "a/b"),
        ("\ufeff# SYNTAX=a/b\nFROM x", "a/b"),
        ("// syntax=a/b\nFROM x", "a/b"),
        ("# a comment\n# syntax=a/b\nFROM x", None),
        ("FROM x\n# syntax=a/b", None),
        ("", None),
    ],
)
def test_a_syntax_line_stands_before_all_else(text: str, syntax: str | None) -> None:
    """As BuildKit reads it."""
    assert syntax_of(text) == syntax


@pytest.mark.timeout(60)
@pytest.mark.parametrize("start", ["# a=x", "// a=x", "# syntax=x"])
def test_long_blanks_are_read_at_once(start: str) -> None:
    """One line of 128 KB stopped the builder for minutes."""
    value = f"x{' ' * 128_000}x"
    assert syntax_of(f"{start}{' ' * 128_000}x \nFROM x") == (value if "syntax" in start else None)


@pytest.mark.parametrize(
    "frontend",
    [
        "docker/dockerfile",
        "docker/dockerfile:1",
        "docker.io/docker/dockerfile:1.7-labs",
        "docker/dockerfile-upstream:master",
    ],
)
def test_dockers_frontend_is_replaced_by_the_built_in_one(frontend: str) -> None:
    """The log says so."""
    (remark,) = check(f"# syntax={frontend}\nFROM x", {})
    assert frontend in remark


@pytest.mark.parametrize(
    "frontend",
    ["evil/dockerfile", "docker/dockerfile.evil.org/x:1", "docker/dockerfiles", "localhost/docker/dockerfile:1"],
)
def test_other_frontends_are_refused(frontend: str) -> None:
    """They are programs of the user's choice, with BuildKit's own interface."""
    with pytest.raises(BuildFailure, match="only docker/dockerfile"):
        check(f"# syntax={frontend}\nFROM x", {})


@pytest.mark.parametrize("name", ["BUILDKIT_SYNTAX", "BUILDKIT_CACHE_MOUNT_NS", "buildkit_syntax", "BUILDKIT_NEW"])
def test_options_of_buildkit_itself_are_refused(name: str) -> None:
    """One would choose another frontend, another the cache mounts of other builds."""
    with pytest.raises(BuildFailure, match=name):
        check("FROM x", {name: "1"})


def test_other_build_arguments_are_the_users() -> None:
    """They change the build alone."""
    assert check("FROM x", {"VERSION": "1", "BUILDKIT_CONTEXT_KEEP_GIT_DIR": "1"}) == []


@pytest.mark.parametrize(
    ("target", "expected"), [("", ""), ("two", "two"), ("other", "other"), ("1", "two"), ("2", ""), ("9", "9")]
)
def test_a_target_is_a_name_for_buildkit(target: str, expected: str) -> None:
    """It accepts no numbers. It reports a stage that does not exist itself."""
    text = "FROM a\nFROM b AS two\nFROM c\n"
    assert target_of(text, BuildOptions(target=target), "linux/amd64") == expected


def test_a_number_of_a_stage_without_a_name_is_refused() -> None:
    """The message says what to write."""
    with pytest.raises(BuildFailure, match="FROM … AS name"):
        target_of("FROM a\nFROM b\n", BuildOptions(target="0"), "linux/amd64")
