"""The Conda environment of a request becomes the environment file that Wave would write."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.submit.naming import Tool, tools_of
from gateway.submit.recipes.conda import Environment, from_entries, from_file
from swell.errors import BadRequest

LOCK_URL = "https://locks.example.org/samtools.lock"
EXPLICIT = "# platform: linux-64\n@EXPLICIT\nhttps://conda.example.org/linux-64/zlib-1.tar.bz2\n"


def text_of(*entries: str, channels: tuple[str, ...] = ()) -> str:
    environment = from_entries(entries, channels)
    assert environment.text is not None
    return environment.text


def merged(text: str, *channels: str) -> str:
    environment = from_file(text, channels)
    assert environment.text is not None
    return environment.text


def test_entries_become_dependencies_and_channels_come_first() -> None:
    """The container id depends on every byte of this text."""
    text = text_of("bioconda::samtools=1.17", "bwa", channels=("conda-forge", "bioconda"))
    assert text == "channels:\n- conda-forge\n- bioconda\ndependencies:\n- bioconda::samtools=1.17\n- bwa\n"


def test_pip_packages_come_last_after_pip() -> None:
    """Conda installs pip, and pip installs the others."""
    assert text_of("pip:numpy", "bwa", "pip:pandas==2.2.2") == (
        "dependencies:\n- bwa\n- pip\n- pip:\n  - numpy\n  - pandas==2.2.2\n"
    )


@pytest.mark.parametrize(
    ("entry", "specs"),
    [
        ("samtools bwa", ["samtools", "bwa"]),
        ("numpy >=1.2", ["numpy>=1.2"]),
        ("numpy >= 1.2, <2 bwa", ["numpy>=1.2,<2", "bwa"]),
        ("'samtools'", ["samtools"]),
        ("''\"bwa\"''", ["bwa"]),
        ("  bwa  ", ["bwa"]),
    ],
)
def test_blanks_separate_packages_except_around_operators(entry: str, specs: list[str]) -> None:
    """Wave splits at every blank, also in `numpy >=1.2`."""
    assert yaml.safe_load(text_of(entry)) == {"dependencies": specs}


def test_one_url_is_a_lock_file_with_channels() -> None:
    """Micromamba downloads the URL itself."""
    assert from_entries([LOCK_URL], ("conda-forge",)) == Environment(url=LOCK_URL, channels=("conda-forge",))


@pytest.mark.parametrize("entries", [[LOCK_URL, "bwa"], ["bwa", LOCK_URL], ["pip::numpy"], ["pip:"]])
def test_invalid_entries_are_refused(entries: list[str]) -> None:
    """In Wave these are internal errors."""
    with pytest.raises(BadRequest, match=r"packages\.entries"):
        from_entries(entries, ())


def test_channels_of_the_request_come_after_those_of_the_file() -> None:
    """The author of the file chose their order; duplicates are left out."""
    text = "channels: [bioconda]\n# a comment\ndependencies: ['samtools']\n"
    assert (
        merged(text, "conda-forge", "bioconda") == "channels:\n- bioconda\n- conda-forge\ndependencies:\n- samtools\n"
    )


def test_a_file_without_channels_gets_them_at_its_end() -> None:
    """The order of the other fields is unchanged."""
    assert merged("dependencies:\n- bwa\n", "bioconda") == "dependencies:\n- bwa\nchannels:\n- bioconda\n"


def test_an_explicit_list_is_unchanged() -> None:
    """It names exact files. Wave supports such a list only by its URL."""
    environment = from_file(EXPLICIT, ("conda-forge",))
    assert environment == Environment(text=EXPLICIT)
    assert environment.is_explicit


@pytest.mark.parametrize(
    "text",
    [
        *("", "- samtools\n", "samtools", "a: [", "@EXPLICITLY", "channels: bioconda\n", "a: &a {<<: *a}"),
        *(
            "a: !!bool x",
            "a: !!int ''",
            "a: !!timestamp x",
            "a: !!python/name:os.system x",
            "a: 2020-99-99",
            "? [a]\n: b",
        ),
        *("[" * 37_000, "a: {" * 9_000, "- " * 18_000 + "x"),
    ],
)
def test_an_invalid_environment_is_refused(text: str) -> None:
    """With a message, before the build."""
    with pytest.raises(BadRequest, match=r"packages\.environment"):
        from_file(text, ("conda-forge",))


def test_merge_keys_cannot_double_a_document() -> None:
    """Forty lines of YAML could become a mapping of a terabyte."""
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    with pytest.raises(BadRequest):
        from_file(bomb, ())


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_any_entry_is_one_string_of_the_file(entries: list[str]) -> None:
    """YAML has many special forms: quotes, tags, anchors, numbers."""
    try:
        environment = from_entries(entries, ())
    except BadRequest:
        return
    if environment.text is None:
        return
    for dependency in yaml.safe_load(environment.text)["dependencies"]:
        assert isinstance(dependency, str) or list(dependency) == ["pip"]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("entry", ["'" * 50_000, '"' * 25_000 + "x", "a" + " " * 50_000 + "b", "=" * 50_000])
def test_a_long_entry_is_parsed_quickly(entry: str) -> None:
    """One process serves all clients."""
    assert len(text_of(entry, "bwa")) < 50_100


def test_the_image_name_comes_from_the_file() -> None:
    """Two modules parse the same specs."""
    assert tools_of(text_of("bioconda::samtools = 1.17", "pip:numpy")) == (
        Tool("samtools", "1.17"),
        Tool("pip"),
        Tool("numpy"),
    )
