"""Platforms: for which machine an image is made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swell.errors import BadRequest
from swell.oci.platform import Platform, parse_platform


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("amd64", "linux/amd64"),
        ("x86_64", "linux/amd64"),
        ("linux/x86-64", "linux/amd64"),
        ("aarch64", "linux/arm64"),
        ("linux/arm64", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v7", "linux/arm64/v7"),
        ("arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/arm/8", "linux/arm/v8"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/amd64/v1", "linux/amd64"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_every_spelling_has_one_canonical_form(text: str, canonical: str) -> None:
    """Platforms are part of container ids, so one platform must be one text."""
    assert str(parse_platform(text)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "linux/",
        "linux/amd64/",
        "s390x",
        "AMD64",
        "amd64/linux",
        "linux/amd64/v3/x",
        "linux/amd64,linux/arm64",
        "linux/ amd64",
    ],
)
def test_what_is_no_platform_is_refused(text: str) -> None:
    """The client hears it at once, not from a failed build."""
    with pytest.raises(BadRequest):
        parse_platform(text)


@pytest.mark.parametrize(
    ("wanted", "entry", "expected"),
    [
        ("x86_64", {"os": "linux", "architecture": "amd64"}, True),
        ("arm64", {"os": "linux", "architecture": "aarch64", "variant": "v8"}, True),
        ("linux/arm64/8", {"os": "linux", "architecture": "arm64", "variant": "v8"}, True),
        ("linux/arm64", {"os": "linux", "architecture": "arm64", "variant": ""}, True),
        ("linux/arm64/v7", {"os": "linux", "architecture": "arm64"}, False),
        ("linux/arm", {"os": "linux", "architecture": "arm", "variant": "v7"}, True),
        ("windows/amd64", {"os": "linux", "architecture": "amd64"}, False),
        ("amd64", {"os": "linux", "architecture": "amd64", "variant": "v3"}, False),
        ("amd64", {"os": "unknown", "architecture": "unknown"}, False),
        ("amd64", {"architecture": "amd64"}, False),
        ("amd64", {"os": "linux", "architecture": ["amd64"]}, False),
        ("amd64", {"os": "linux", "architecture": "amd64", "variant": None}, True),
        ("amd64", {}, False),
    ],
)
def test_an_entry_is_matched_by_meaning(wanted: str, entry: dict[str, object], expected: bool) -> None:
    """Indexes spell arm64 in several ways, and any client may have written them."""
    assert parse_platform(wanted).matches(entry) is expected


@pytest.mark.parametrize(
    ("platform", "runnable"),
    [
        ("linux/amd64", ["amd64", "386"]),
        ("linux/amd64/v2", ["amd64/v2", "amd64", "386"]),
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64", "386"]),
        ("linux/arm/v5", ["arm/v5"]),
        ("linux/arm/v6", ["arm/v6", "arm/v5"]),
        ("linux/arm", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm/v8", ["arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm64", ["arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm64/v7", ["arm64/v7", "arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm64/v8.1", ["arm64/v8.1", "arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
        (
            "linux/arm64/v9",
            [
                "arm64/v9", "arm64/v8.5", "arm64/v8.4", "arm64/v8.3", "arm64/v8.2", "arm64/v8.1", "arm64",
                "arm/v9", "arm/v8", "arm/v7", "arm/v6", "arm/v5",
            ],
        ),
        (
            "linux/arm64/v9.1",
            [
                "arm64/v9.1", "arm64/v9", "arm64/v8.6", "arm64/v8.5", "arm64/v8.4", "arm64/v8.3", "arm64/v8.2",
                "arm64/v8.1", "arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5",
            ],
        ),
    ],
)  # fmt: skip
def test_a_machine_runs_what_containerd_says(platform: str, runnable: list[str]) -> None:
    """In this order; the vectors are those of containerd's `platforms.Only`."""
    wanted = parse_platform(platform)
    every = [
        *(f"arm64/v9.{minor}" for minor in range(3)), "arm64/v9", *(f"arm64/v8.{minor}" for minor in range(1, 9)),
        "arm64", "arm64/v7", *(f"arm/v{number}" for number in range(4, 11)), "amd64/v4", "amd64/v3", "amd64/v2",
        "amd64", "386", "ppc64le", "s390x", "riscv64",
    ]  # fmt: skip

    def entry(name: str) -> dict[str, str]:
        architecture, _, variant = name.partition("/")
        return {"os": "linux", "architecture": architecture, "variant": variant}

    ranks = {name: rank for name in every if (rank := wanted.rank(entry(name))) is not None}

    assert sorted(ranks, key=lambda name: ranks[name]) == runnable


@pytest.mark.parametrize(
    ("wanted", "entry", "rank"),
    [
        ("amd64", {"os": "Linux", "architecture": "AMD64"}, 0),
        ("amd64", {"os": "linux", "architecture": "amd64", "variant": "v1"}, 0),
        ("linux/amd64/v2", {"os": "linux", "architecture": "amd64", "variant": "v1"}, 1),
        ("amd64", {"os": "linux", "architecture": "i386"}, 1),
        ("linux/arm/v7", {"os": "linux", "architecture": "armhf"}, 0),
        ("linux/arm/v7", {"os": "linux", "architecture": "armel"}, 1),
        ("linux/arm/v7", {"os": "linux", "architecture": "arm"}, 0),
        ("linux/arm64", {"os": "linux", "architecture": "arm64", "variant": "V8"}, 0),
        ("linux/arm64/v99999999999", {"os": "linux", "architecture": "arm", "variant": "v7"}, None),
    ],
)
def test_entries_are_normalized(wanted: str, entry: dict[str, object], rank: int | None) -> None:
    """An index may have names in other letters and older names."""
    assert parse_platform(wanted).rank(entry) == rank


def test_a_platform_reads_back_as_itself() -> None:
    """It travels as text between services."""
    for platform in (Platform("linux", "arm64"), Platform("linux", "arm", "v6"), Platform("windows", "amd64")):
        assert parse_platform(str(platform)) == platform


@given(
    st.text(max_size=40) | st.from_regex(r"(linux/)?(amd64|arm64|arm|x86[_-]64|[a-z]+)(/v?[0-9a-z]+)?", fullmatch=True)
)
def test_any_text_is_a_platform_or_refused(text: str) -> None:
    """What is read reads the same again, so one platform has one name."""
    try:
        platform = parse_platform(text)
    except BadRequest as error:
        assert str(error)
        return
    assert parse_platform(str(platform)) == platform
    assert platform.matches({"os": platform.os, "architecture": platform.architecture, "variant": platform.variant})


@given(st.dictionaries(st.sampled_from(["os", "architecture", "variant"]), st.none() | st.text() | st.integers()))
def test_any_entry_of_an_index_is_no_error(entry: dict[str, object]) -> None:
    """Any client can push an index."""
    assert Platform("linux", "amd64").matches(entry) in {True, False}
