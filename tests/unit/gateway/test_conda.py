"""What a request says about a Conda environment becomes the file that Wave would have made of it."""

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
    """The container id is made from this text, so every byte counts."""
    made = text_of("bioconda::samtools=1.17", "bwa", channels=("conda-forge", "bioconda"))
    assert made == "channels:\n- conda-forge\n- bioconda\ndependencies:\n- bioconda::samtools=1.17\n- bwa\n"


def test_packages_of_pip_come_last_with_pip_itself() -> None:
    """Conda installs pip, pip the others."""
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
def test_an_entry_with_blanks_is_several_packages_but_one_with_its_version(entry: str, specs: list[str]) -> None:
    """Wave splits at every blank, and tears `numpy >=1.2` apart."""
    assert yaml.safe_load(text_of(entry)) == {"dependencies": specs}


def test_one_address_is_a_lock_file_and_brings_its_channels_along() -> None:
    """There is nothing to put into a file: micromamba reads the address itself."""
    assert from_entries([LOCK_URL], ("conda-forge",)) == Environment(url=LOCK_URL, channels=("conda-forge",))


@pytest.mark.parametrize("entries", [[LOCK_URL, "bwa"], ["bwa", LOCK_URL], ["pip::numpy"], ["pip:"]])
def test_what_nobody_could_install_is_refused(entries: list[str]) -> None:
    """At Wave these are internal errors."""
    with pytest.raises(BadRequest, match=r"packages\.entries"):
        from_entries(entries, ())


def test_channels_of_the_request_come_behind_those_of_the_file() -> None:
    """The file's author chose their order; none is there twice."""
    text = "channels: [bioconda]\n# a comment\ndependencies: ['samtools']\n"
    assert (
        merged(text, "conda-forge", "bioconda") == "channels:\n- bioconda\n- conda-forge\ndependencies:\n- samtools\n"
    )


def test_a_file_without_channels_gets_them_at_its_end() -> None:
    """The order of what is there stays."""
    assert merged("dependencies:\n- bwa\n", "bioconda") == "dependencies:\n- bwa\nchannels:\n- bioconda\n"


def test_an_explicit_list_stays_as_it_is() -> None:
    """It names exact files: no channel could add anything. Wave takes such a list by its address only."""
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
def test_what_is_no_environment_is_refused(text: str) -> None:
    """In a sentence, before anything is built."""
    with pytest.raises(BadRequest, match=r"packages\.environment"):
        from_file(text, ("conda-forge",))


def test_merge_keys_cannot_double_a_document() -> None:
    """Forty lines of YAML could be a terabyte of mapping."""
    bomb = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 40))
    with pytest.raises(BadRequest):
        from_file(bomb, ())


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_whatever_an_entry_says_it_stays_one_text_of_the_file(entries: list[str]) -> None:
    """YAML has many ways to become something else: quotes, tags, anchors, numbers."""
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
def test_a_long_entry_takes_no_long_time(entry: str) -> None:
    """One process answers everybody."""
    assert len(text_of(entry, "bwa")) < 50_100


def test_names_are_made_from_the_file() -> None:
    """Two modules read the same specs."""
    assert tools_of(text_of("bioconda::samtools = 1.17", "pip:numpy")) == (
        Tool("samtools", "1.17"),
        Tool("pip"),
        Tool("numpy"),
    )
